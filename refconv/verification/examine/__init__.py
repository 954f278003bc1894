"""Examining: whether a candidate has its properties on a case, in this process, in another one, in many.

`property_names` lists the properties, `examiner` checks them on a case, `wrong_arguments` on a call that must be
refused. `in_process`, `isolated` (with `worker`, its inside) and `crew` say where; `journal` keeps what is done. Knows
candidates; not how failures are explained or told.
"""
