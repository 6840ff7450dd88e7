// Package tasks takes send jobs in and delivers them: documents and their
// submission, the slots that asynq lends, the dispatcher that shares out calls,
// what follows from an answer, and the sweeper that keeps all of it going.
//
// Invariant: a target is sent to only while it is marked in flight in the
// ledger under a claim that is held, and every answer, or the lack of one, ends
// in an outcome or another attempt. asynq decides who works, never what is
// true: that stands in the ledger.
//
// It does not speak HTTP (apiclient), keep books (ledger), pace (gate) or cut
// (chunker); it is the place where these meet. Start with deliver.go: the life
// of a batch reads there from top to bottom.
package tasks
