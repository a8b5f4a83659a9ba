"""Graphs that a replica must not load, each made from one of ours."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.dll import initial
from service.graph.check import (
    MAX_NODES,
    MAX_STRUCTURE_BYTES,
    MAX_TENSORS,
)
from service.graph.forward import to_onnx
from service.graph.nodes import OPSET
from service.schema import Schema, Sensor
from service.state import plain


def schema(sensors: int = 2, classes: int = 2) -> Schema:
    return Schema(
        [Sensor(f"s{i}", "", 0.0, 1.0) for i in range(sensors)], [f"c{i}" for i in range(classes)]
    )


def exported(sensors: int = 2, classes: int = 2, hidden: tuple[int, ...] = (8, 6)) -> bytes:
    return to_onnx(initial(plain(((0.0, 1.0),) * sensors, classes, hidden)))


# Each attack takes a graph of ours, changes it, and says what the refusal must name.
ATTACKS = {}


def attack(match: str):
    def keep(craft):
        ATTACKS[craft.__name__] = (craft, match)
        return craft

    return keep


def tensor(model, name):
    return next(t for t in model.graph.initializer if t.name == name)


def node(model, operator):
    return next(n for n in model.graph.node if n.op_type == operator)


def insert(model, made, at=0):
    nodes = [*model.graph.node]
    nodes.insert(at, made)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def body():
    """A subgraph that copies its one value."""
    info = helper.make_tensor_value_info("v", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("w", TensorProto.FLOAT, [1])
    return helper.make_graph([helper.make_node("Identity", ["v"], ["w"])], "body", [info], [out])


@attack("W1.*found external_data")
def external_data(model):
    held = tensor(model, "W1")
    held.ClearField("raw_data")
    held.data_location = TensorProto.EXTERNAL
    held.external_data.add(key="location", value="../../../../etc/passwd")


@attack("W1.*found data_location")
def external_location_alone(model):
    tensor(model, "W1").data_location = TensorProto.EXTERNAL


@attack("W1.*found external_data")
def external_entries_alone(model):
    tensor(model, "W1").external_data.add(key="location", value="/dev/zero")


@attack("operator ai.onnx.Constant$")
def external_data_in_a_constant(model):
    value = TensorProto(dims=[1], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    value.external_data.add(key="location", value="/etc/passwd")
    insert(model, helper.make_node("Constant", [], ["c"], value=value))


@attack(r"graph.node\[5\].*operator ai.onnx.Loop$")
def loop(model):
    insert(model, helper.make_node("Loop", ["", ""], ["l"], body=body()), 5)


@attack("operator ai.onnx.If$")
def branch(model):
    made = helper.make_node("If", ["missing"], ["l"], then_branch=body(), else_branch=body())
    insert(model, made, 1)


@attack("operator ai.onnx.Scan$")
def scan(model):
    insert(model, helper.make_node("Scan", ["mean"], ["l"], body=body(), num_scan_inputs=1))


@attack(r"Tanh.attribute\[0\] body.*found g$")
def subgraph_in_an_allowed_operator(model):
    node(model, "Tanh").attribute.append(helper.make_attribute("body", body()))


@attack("operator ai.onnx.ConstantOfShape$")
def huge_constant_of_shape(model):
    model.graph.initializer.append(numpy_helper.from_array(np.full(4, 2**20, np.int64), "shape"))
    insert(model, helper.make_node("ConstantOfShape", ["shape"], ["huge"]))


@attack("operator com.example.Tanh$")
def custom_domain(model):
    node(model, "Tanh").domain = "com.example"


@attack("found functions$")
def function(model):
    made = helper.make_node("Identity", ["v"], ["w"])
    model.functions.append(
        helper.make_function("local", "F", ["v"], ["w"], [made], [helper.make_opsetid("", OPSET)])
    )


@attack("found training_info$")
def training_info(model):
    model.training_info.add()


@attack("found sparse_initializer$")
def sparse_initializer(model):
    model.graph.sparse_initializer.add()


@attack("found metadata_props$")
def metadata(model):
    model.metadata_props.add(key="session.use_ort_model_bytes_directly", value="1")


@attack("opsets.*21")
def newer_opset(model):
    model.opset_import[0].version = 21


@attack("opsets.*com.example")
def second_opset(model):
    model.opset_import.append(helper.make_opsetid("com.example", 1))


@attack("IR version.*found .99")
def newer_ir(model):
    model.ir_version = 99


@attack("dimensions from 1 to 12288, found .16777216, 1.$")
def small_file_huge_activation(model):
    tensor(model, "W1").dims[:] = [2**24, 1]


@attack("dimensions from 1 to 12288, found .-8, -2.$")
def negative_dimensions(model):
    tensor(model, "W1").dims[:] = [-8, -2]


@attack("W1.*found .0, 2.$")
def empty_dimension(model):
    tensor(model, "W1").dims[:] = [0, 2]


@attack("at most 2 dimensions.*found .1, 8, 2.$")
def third_dimension(model):
    tensor(model, "W1").dims[:] = [1, 8, 2]


@attack("W1.*expected 72 bytes for shape .9, 2., found 64$")
def more_shape_than_data(model):
    tensor(model, "W1").dims[0] = 9


@attack("W1.*found float_data$")
def data_twice(model):
    tensor(model, "W1").float_data.append(1.0)


@attack("W1.*float32, found type 11$")
def double_weights(model):
    tensor(model, "W1").data_type = TensorProto.DOUBLE


@attack("'mean'.*a name of its own")
def two_tensors_of_one_name(model):
    model.graph.initializer.append(tensor(model, "mean"))


@attack("'readings'.*a name of its own")
def tensor_named_like_the_input(model):
    tensor(model, "mean").name = "readings"


@attack("Tanh.*one output with a name of its own, found ..x0")
def two_outputs_of_one_name(model):
    node(model, "Tanh").output[0] = "x0"


@attack("one output.*found ..x1', 'y'")
def two_outputs(model):
    node(model, "Tanh").output.append("y")


@attack("Sub.*defined before it, found ..scaled")
def cycle(model):
    node(model, "Sub").input[0] = "scaled"


@attack("Clip.*defined before it, found ..'")
def input_left_out(model):
    node(model, "Clip").input[1] = ""


@attack("Sub.*shapes that we export")
def broadcast(model):
    tensor(model, "mean").CopyFrom(numpy_helper.from_array(np.zeros((4096, 2), "f4"), "mean"))


@attack("Gemm.*shapes that we export.*'batch', 2.*8, 3")
def weight_of_another_width(model):
    tensor(model, "W1").CopyFrom(numpy_helper.from_array(np.zeros((8, 3), "f4"), "W1"))


@attack("Gemm.*shapes that we export")
def multiplied_with_itself(model):
    node(model, "Gemm").input[1] = "x0"


@attack("Gemm: attributes.*found .*transB.* 0")
def another_attribute(model):
    node(model, "Gemm").attribute[0].i = 0


@attack("Softmax: attributes.*found ..$")
def attribute_left_out(model):
    del node(model, "Softmax").attribute[:]


@attack("found ref_attr_name$")
def attribute_by_reference(model):
    node(model, "Gemm").attribute[0].ref_attr_name = "alpha"


@attack("graph.input.*other")
def second_input(model):
    other = helper.make_tensor_value_info("other", TensorProto.FLOAT, ["batch", 2])
    model.graph.input.append(other)


@attack("graph.input.*'batch', 2.*'batch', 3")
def input_of_another_width(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3


@attack("graph.input.*found .*7, 2")
def fixed_batch(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 7


@attack(r"input\[0\] readings.type.*found sequence_type$")
def sequence_input(model):
    model.graph.input[0].type.sequence_type.SetInParent()


@attack("graph.output.*x0")
def second_output(model):
    model.graph.output.append(helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["batch", 2]))


@attack("graph.output.*found ..$")
def no_output(model):
    del model.graph.output[:]


@attack("probabilities: expected shape .*found None$")
def output_never_computed(model):
    node(model, "Softmax").output[0] = "other"


@attack("probabilities: expected shape .*found .'batch', 6.")
def output_of_another_width(model):
    node(model, "Softmax").output[0] = "other"
    insert(model, helper.make_node("Tanh", ["x2"], ["probabilities"]), len(model.graph.node))


@attack(f"at most {MAX_NODES} nodes, found {MAX_NODES + 11}$")
def too_many_nodes(model):
    model.graph.node.extend([node(model, "Tanh")] * MAX_NODES)


@attack(f"at most {MAX_TENSORS} initializers")
def too_many_tensors(model):
    model.graph.initializer.extend([tensor(model, "zero")] * MAX_TENSORS)


@attack(f"at most {MAX_STRUCTURE_BYTES} bytes beside the weights")
def nodes_that_parse_to_a_hundred_times_their_size(model):
    for _ in range(MAX_STRUCTURE_BYTES // 2):
        model.graph.node.add()


@attack("at most .* bytes beside the weights")
def long_name(model):
    tensor(model, "W1").name = "W" * MAX_STRUCTURE_BYTES


def crafted(name: str, data: bytes) -> tuple[bytes, str]:
    model = onnx.load_from_string(data)
    craft, match = ATTACKS[name]
    craft(model)
    return model.SerializeToString(), match
