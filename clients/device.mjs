// Learning on a device, in JavaScript: a snapshot's files and a stock onnxruntime, nothing of this
// service. It repeats what a learner did, and says how far that is from another snapshot:
//
//   apical export events.jsonl
//   npm install onnxruntime-web        (or onnxruntime-node: say so in APICAL_ONNXRUNTIME)
//   node device.mjs SNAPSHOT events.jsonl [ANOTHER_SNAPSHOT]
//
// The graph and its names are in docs/device.md; `device.py` is the same in Python.

import { createReadStream, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

// Looked for where the program is run, not where this file lies.
const require = createRequire(join(process.cwd(), "device.mjs"));
const ort = require(process.env.APICAL_ONNXRUNTIME ?? "onnxruntime-web");

const UNKNOWN = -1;
const COMPARED_ROWS = 1000;
const KINDS = {
  F32: ["float32", Float32Array],
  F64: ["float64", Float64Array],
  I64: ["int64", BigInt64Array],
};

/** The tensors of a safetensors file, by name. */
export function tensorsOf(path) {
  const bytes = readFileSync(path);
  const head = Number(bytes.readBigUInt64LE(0));
  const said = JSON.parse(bytes.toString("utf8", 8, 8 + head));
  delete said.__metadata__;
  const found = {};
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(said)) {
    const [kind, Values] = KINDS[dtype];
    // Copied, since an array's numbers must lie where their size divides the address.
    const own = Uint8Array.from(bytes.subarray(8 + head + from, 8 + head + to));
    found[name] = new ort.Tensor(kind, new Values(own.buffer), shape);
  }
  return found;
}

/** A learner that a snapshot began. */
export class Device {
  static async open(folder) {
    const device = new Device();
    const manifest = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
    device.sensors = manifest.schema.features.map((feature) => feature.name);
    device.values = manifest.schema.features.map((feature) => feature.values ?? []);
    device.tensors = tensorsOf(join(folder, "state.safetensors"));
    device.seq = manifest.seq;
    device.steps = manifest.updates;
    device.stepSize = manifest.step_size;
    device.frozen = manifest.frozen;
    device.session = await ort.InferenceSession.create(readFileSync(join(folder, "step.onnx")));
    return device;
  }

  /** A row as `learn` takes it, of one as an export has it: of a category's value the index, NaN
   * where it is missing or not known. */
  row(said) {
    return said.map((value, at) => {
      if (typeof value !== "string") return value ?? NaN;
      const index = this.values[at].indexOf(value);
      return index < 0 ? NaN : index;
    });
  }

  /** Probabilities of a row of numbers, NaN where missing, before it is learned under `label`. */
  async learn(row, label) {
    const found = await this.#stepped(row, label);
    if (label !== UNKNOWN && !this.frozen) {
      this.steps += 1;
      // Fixed feedback weights are not among what a step gives.
      for (const name of Object.keys(this.tensors)) {
        this.tensors[name] = found[`next.${name}`] ?? this.tensors[name];
      }
    }
    return found.probabilities.data;
  }

  /** Probabilities of a row; nothing is learned. */
  async predict(row) {
    return (await this.#stepped(row, UNKNOWN)).probabilities.data;
  }

  /** What one line of `apical export` says. */
  async apply(event) {
    if (event.seq !== this.seq + 1) {
      throw new Error(`expected event ${this.seq + 1} next, found ${event.seq}`);
    }
    if (event.kind === "rollback" || event.kind === "rebase") {
      throw new Error(
        `event ${event.seq}: expected no ${event.kind}; go on from snapshot ${event.snapshot}`,
      );
    }
    this.seq = event.seq;
    if (event.kind === "batch" || event.kind === "late") {
      for (const [at, row] of event.rows.entries()) {
        await this.learn(this.row(row), event.labels[at] ?? UNKNOWN);
      }
    } else if (event.kind === "freeze" || event.kind === "thaw") {
      this.frozen = event.kind === "freeze";
    } else if (event.kind === "step_size") {
      this.stepSize = event.step_size;
    }
  }

  #stepped(row, label) {
    return this.session.run({
      ...this.tensors,
      rows: new ort.Tensor("float32", Float32Array.from(row), [1, row.length]),
      labels: new ort.Tensor("int64", BigInt64Array.of(BigInt(Math.max(label, 0))), [1]),
      step_size: new ort.Tensor("float64", Float64Array.of(this.stepSize), []),
      steps: new ort.Tensor("int64", BigInt64Array.of(BigInt(this.steps + 1)), []),
    });
  }
}

const best = (values) => values.indexOf(Math.max(...values));

/** Go through an export, beginning behind `snapshot`; how far the end is from `other`. */
export async function audit(snapshot, lines, other) {
  const device = await Device.open(snapshot);
  const first = device.seq;
  const end = other === undefined ? undefined : await Device.open(other);
  let rows = 0;
  let last = [];
  for await (const line of createInterface({ input: createReadStream(lines) })) {
    const event = JSON.parse(line);
    if (event.seq <= device.seq || (end !== undefined && event.seq > end.seq)) continue;
    await device.apply(event);
    rows += (event.rows ?? []).length;
    last = last.concat(event.rows ?? []).slice(-COMPARED_ROWS);
  }
  const said = { seq: device.seq, steps: device.steps, rows };
  if (end === undefined) return said;
  if (device.seq !== end.seq || device.steps !== end.steps) {
    throw new Error(`expected events up to ${end.seq}, found the last at ${device.seq}`);
  }
  if (last.length === 0) {
    throw new Error(`expected rows between events ${first} and ${end.seq}, found none`);
  }
  let difference = 0;
  for (const [name, { data }] of Object.entries(end.tensors)) {
    const mine = device.tensors[name].data;
    for (let at = 0; at < data.length; at += 1) {
      difference = Math.max(difference, Math.abs(Number(mine[at]) - Number(data[at])));
    }
  }
  let alike = 0;
  for (const row of last.map((said) => device.row(said))) {
    alike += best(await device.predict(row)) === best(await end.predict(row)) ? 1 : 0;
  }
  return { ...said, difference, equal: alike / last.length };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.log(JSON.stringify(await audit(...process.argv.slice(2))));
}
