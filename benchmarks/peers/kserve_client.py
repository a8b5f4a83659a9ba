"""What KServe's `InferenceRESTClient` gets, as JSON; runs in KServe's environment.

python kserve_client.py URL [KEY]
"""

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

MODEL = "press"


def tensor(name: str, datatype: str, values: Any, binary: bool) -> InferInput:
    array = np.array(values)
    found = InferInput(name, list(array.shape), datatype)
    found.set_data_from_numpy(array, binary_data=binary)
    return found


async def main(url: str, key: str = "") -> dict[str, Any]:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))

    def headers() -> dict[str, str] | None:
        # New each time: the client writes into what it is given.
        return {"authorization": f"Bearer {key}"} if key else None

    said: dict[str, Any] = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model_ready": await client.is_model_ready(url, MODEL, headers=headers()),
    }

    async def infer(batch_id: str, *tensors: InferInput) -> dict[str, Any]:
        request = InferRequest(
            model_name=MODEL, infer_inputs=list(tensors), parameters={"batch_id": batch_id}
        )
        found = await client.infer(url, request, model_name=MODEL, headers=headers())
        return {each.name: each.as_numpy().tolist() for each in found.outputs}

    for binary in (False, True):
        rows = tensor("rows", "FP32", np.array([[70, 2], [90, np.nan]], np.float32), binary)
        if not binary:
            # Its JSON has no NaN.
            rows = tensor("rows", "FP32", np.array([[70, 2], [90, 3]], np.float32), binary)
        label = tensor("label", "INT64", [0, 1], binary)
        name = "binary" if binary else "json"
        said[name] = {
            "predicted": await infer(f"{name}-1", rows),
            "feedback": await infer(f"{name}-1", label),
            "taught": await infer(f"{name}-2", rows, label),
        }
    try:
        await infer("wrong", tensor("rows", "FP32", np.zeros((1, 3), np.float32), False))
    except httpx.HTTPStatusError as error:
        said["error"] = str(error)
    return said


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
