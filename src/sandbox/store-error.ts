/** Why the store said no. The names are those of RFC 5530's response codes; other protocols word them their own way. */
export type StoreErrorKind =
  | "NONEXISTENT"
  | "ALREADYEXISTS"
  | "OVERQUOTA"
  | "LIMIT"
  | "CANNOT"
  | "HASCHILDREN";

export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly kind: StoreErrorKind;

  constructor(kind: StoreErrorKind, message: string) {
    super(message);
    this.kind = kind;
  }
}
