// Package apiclient speaks to the vendor's Chat REST API: it checks and
// encodes messages, sends them, reads what became of every target, uploads
// files, and keeps the access token fresh.
//
// The invariant: one POST is one attempt is one classification. Every answer,
// and every lack of one, becomes exactly one Kind, and no message that may
// have left this process is ever sent a second time behind the caller's back.
//
// It is no retry loop and no rate limiter: it says what an answer means, and
// the caller decides what to do about it. The only calls it repeats are those
// that were certainly not carried out: after a 401, with another token, and
// where a kept-alive connection turned out dead before a byte was written; and
// uploads, for a while: a file that is there twice reaches nobody.
package apiclient
