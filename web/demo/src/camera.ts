/** The visitor's camera, once they allow it. Its pictures stay in the page. */

export class CameraError extends Error {}

/** Shows the camera in `video`. Throws a {@link CameraError} with words for the visitor. */
export async function openCamera(video: HTMLVideoElement): Promise<MediaStream> {
  // Browsers offer cameras to pages over https and of this machine alone.
  if (!navigator.mediaDevices) throw new CameraError('A page may use a camera over https only. Drop pictures, or choose files.');
  let stream: MediaStream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'user' }, audio: false });
  } catch (cause) {
    throw new CameraError(reason(cause), { cause });
  }
  video.srcObject = stream;
  await video.play();
  return stream;
}

/** Switches the camera off. */
export function closeCamera(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

function reason(cause: unknown): string {
  const name = cause instanceof DOMException ? cause.name : '';
  if (name === 'NotAllowedError') return 'This page may not use the camera. Allow it beside the address, or drop pictures.';
  if (name === 'NotFoundError') return 'There is no camera here. Drop pictures, or choose files.';
  return 'The camera does not answer; another program may be using it. Drop pictures, or choose files.';
}
