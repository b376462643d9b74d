/**
 * Records the events of a connection's watch into a file. `connect("file:///PATH")` of the main entry replays it.
 *
 * @module virstream/recording
 */

import type { Connection } from "../../client/connection.ts";
import { type ActiveRecording, type RecordOptions, startRecording } from "./active-recording.ts";

export { type RecordingGap, type RecordingSurvey, surveyRecording } from "../../drivers/recording/survey.ts";
// What record() takes and returns.
export type { ActiveRecording, RecordingFigures, RecordOptions } from "./active-recording.ts";

/**
 * Records a watch of a connection into a file, until the recording is closed. If the file is a recording, the new
 * records are appended to it, and a replay reports the time between the old and the new records as a `gap`. Rotated
 * files are named `FILE.000001` and so on, the newest with the highest number.
 *
 * @throws VirstreamError `invalid-argument`; `output-failed` when the file cannot be written, or is no recording
 */
export function record(connection: Connection, path: string, options: RecordOptions = {}): Promise<ActiveRecording> {
  return startRecording(connection, path, options);
}
