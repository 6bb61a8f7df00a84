"""Weather at the airport of departure, known when its hour is over."""

# Written by %%feature in notebooks/flight_delays.ipynb; edit it there.

import pandas as pd

VIEW = {
    "name": "airport_weather",
    "entity": ["origin"],
    "timestamp": "known_at",
    "ttl": "3h",
    "owner": "ops",
    "tags": ["weather", "hourly"],
    "description": "Weather at the airport of departure, known when its hour is over.",
    "inputs": ["weather"],
}


def airport_weather(weather):
    return weather.assign(known_at=weather["hour_start"] + pd.Timedelta(hours=1))[
        ["origin", "known_at", "temp", "humid", "wind_speed", "precip", "pressure", "visib"]
    ]
