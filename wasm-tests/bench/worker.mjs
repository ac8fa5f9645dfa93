// Runs one case of the benchmark. On WebGPU it counts dispatches: every step
// ends with a read of its loss, so those between two reads belong to one step.

const steps = [];
let dispatches = 0;

if (globalThis.GPUComputePassEncoder) {
  const pass = GPUComputePassEncoder.prototype;
  for (const name of ['dispatchWorkgroups', 'dispatchWorkgroupsIndirect']) {
    const native = pass[name];
    pass[name] = function (...args) {
      dispatches += 1;
      return native.apply(this, args);
    };
  }
  const { mapAsync } = GPUBuffer.prototype;
  GPUBuffer.prototype.mapAsync = function (...args) {
    steps.push(dispatches);
    dispatches = 0;
    return mapAsync.apply(this, args);
  };
}

self.onmessage = async ({ data: { backend, model, batch, parameters, clients } }) => {
  try {
    const { default: init, benchmark, benchmarkPrivacy } = await import(`/fedra_${backend}.js`);
    await init();
    if (parameters) {
      self.postMessage({ result: benchmarkPrivacy({ parameters, clients }) });
      return;
    }
    const result = await benchmark({ model, batch, backend });
    // The first steps set things up.
    if (backend === 'webgpu') result.dispatches = steps.at(-1);
    self.postMessage({ result });
  } catch (error) {
    self.postMessage({ error: String(error?.stack ?? error) });
  }
};
