import assert from "node:assert/strict";
import { test } from "node:test";
import { CapabilityBoard } from "../../src/upstream/capabilities.ts";

test("what all backends offer is offered, and what one lacks is not", () => {
  const board = new CapabilityBoard();
  assert.deepEqual(board.common("imap"), []);
  board.learn("imap", "north", ["IMAP4rev1", "IDLE", "MOVE"]);
  assert.deepEqual(board.common("imap"), ["IMAP4rev1", "IDLE", "MOVE"]);
  board.learn("imap", "south", ["IMAP4rev1", "MOVE"]);
  assert.deepEqual(board.common("imap"), ["IMAP4rev1", "MOVE"]);
});

test("a backend that changes is believed what it said last", () => {
  const board = new CapabilityBoard();
  board.learn("imap", "north", ["IMAP4rev1", "IDLE"]);
  board.learn("imap", "south", ["IMAP4rev1"]);
  board.learn("imap", "south", ["IMAP4rev1", "IDLE"]);
  assert.deepEqual(board.common("imap"), ["IMAP4rev1", "IDLE"]);
  board.learn("imap", "north", ["IMAP4rev1"]);
  assert.deepEqual(board.common("imap"), ["IMAP4rev1"]);
});

test("protocols do not mix", () => {
  const board = new CapabilityBoard();
  board.learn("imap", "north", ["IMAP4rev1"]);
  board.learn("pop3", "north", ["UIDL"]);
  assert.deepEqual(board.common("imap"), ["IMAP4rev1"]);
  assert.deepEqual(board.common("pop3"), ["UIDL"]);
});
