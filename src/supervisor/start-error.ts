/** Why a gateway cannot start, each in the words of an operator's file. */
export class StartError extends Error {
  override readonly name = "StartError";
}
