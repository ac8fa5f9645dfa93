/** Files of a model that a page offers, and their addresses. Pure. */
import type { Model } from './generated/http-api.js';

export interface Download {
  readonly title: string;
  readonly why: string;
  readonly href: string;
  /** Name of the saved file, where the browser takes one. */
  readonly name: string;
}

/** The files of a task's model on the server at `api`. */
export function downloads(api: string, task: string, { sha256, round }: Pick<Model, 'sha256' | 'round'>): readonly Download[] {
  const model = `${api}/v1/models/${sha256}`;
  const name = (extension: string) => `${task}-${round}.${extension}`;
  return [
    { title: 'Safetensors', why: 'The file that clients fetch.', href: model, name: name('safetensors') },
    { title: 'ONNX', why: 'Computes what the model predicts, in other runtimes.', href: `${model}?format=onnx`, name: name('onnx') },
    {
      title: 'PyTorch',
      why: 'Safetensors with the names of a torch.nn.Sequential.',
      href: `${model}?format=pytorch`,
      name: name('pytorch.safetensors'),
    },
    {
      title: 'Model card',
      why: 'What it is, how it was trained, how good it is.',
      href: `${model}/card?format=markdown`,
      name: name('card.md'),
    },
  ];
}
