// One case of the benchmark, in a fresh worker. On WebGPU it counts the dispatches of a
// step: a submit has many steps, each of which is the same row of pipelines, so that a
// step is the period of that row.

/** Most dispatches that are remembered, the last ones. */
const KEPT = 2000;

const dispatched = [];
let deviceReady;

if (globalThis.GPUComputePassEncoder) {
  const pass = GPUComputePassEncoder.prototype;
  const pipelines = new WeakMap();
  const { setPipeline } = pass;
  pass.setPipeline = function (pipeline) {
    pipelines.set(this, pipeline);
    return setPipeline.call(this, pipeline);
  };
  for (const name of ['dispatchWorkgroups', 'dispatchWorkgroupsIndirect']) {
    const native = pass[name];
    pass[name] = function (...args) {
      dispatched.push(pipelines.get(this));
      if (dispatched.length > KEPT) dispatched.splice(0, KEPT / 2);
      return native.apply(this, args);
    };
  }
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (...args) {
    const device = await requestDevice.apply(this, args);
    deviceReady = performance.now();
    return device;
  };
}

self.onmessage = async ({ data: { backend, model, batch, parameters, clients } }) => {
  try {
    const begin = performance.now();
    const { default: init, benchmark, benchmarkPrivacy } = await import('/fedra.js');
    await init();
    const started = performance.now();
    if (parameters) {
      self.postMessage({ result: benchmarkPrivacy({ parameters, clients }) });
      return;
    }
    const result = await benchmark({ model, batch, backend });
    result.startMilliseconds = started - begin;
    if (backend === 'webgpu') {
      result.deviceMilliseconds = deviceReady - started;
      // The first half may be of setting up.
      result.dispatches = period(dispatched.slice(dispatched.length / 2));
    }
    self.postMessage({ result });
  } catch (error) {
    self.postMessage({ error: String(error?.stack ?? error) });
  }
};

/** The fewest elements that come again and again, or nothing if none do. */
function period(row) {
  for (let length = 1; 2 * length <= row.length; length++) {
    if (row.slice(length).every((one, index) => one === row[index])) return length;
  }
  return undefined;
}
