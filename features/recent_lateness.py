"""Late arrivals of the carrier's flights out of this airport, over the six hours up to the latest landing."""

# Written by %%feature in notebooks/flight_delays.ipynb; edit it there.

VIEW = {
    "name": "recent_lateness",
    "entity": ["origin", "carrier"],
    "timestamp": "known_at",
    "ttl": "12h",
    "owner": "ops",
    "tags": ["delay", "rolling"],
    "description": "Late arrivals of the carrier's flights out of this airport, over the six hours up to the latest landing.",
    "inputs": ["flights"],
}


def recent_lateness(flights):
    landings = flights.sort_values("landed").set_index("landed")
    recent = landings.groupby(["origin", "carrier"], observed=True)[["late", "arr_delay"]].rolling("6h")
    values = recent.mean().rename(columns={"late": "recent_late_share", "arr_delay": "recent_delay"})
    values["recent_landings"] = recent["late"].count()
    # Several landings in one minute: the last row is the one that has seen them all.
    return values.rename_axis(index={"landed": "known_at"}).reset_index().drop_duplicates(["origin", "carrier", "known_at"], keep="last")
