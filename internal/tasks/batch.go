package tasks

import (
	"bytes"
	"time"

	"crier/internal/ledger"
)

// batch is some targets of a segment that share their history and go in one call.
type batch struct {
	lines []byte  // names, each ended by a newline
	index []int32 // of these names in the segment
	history
	hints
	suspicion
	due   time.Time // not to be sent before
	bytes int       // of the body of the call
}

// suspicion is what is held against a batch that the API has refused for good:
// it, or the one that it is a part of.
type suspicion struct {
	refused time.Time // first; zero = never
	tried   bool      // as it is, while calls were held for that
	cleared bool      // others have passed since: so the API takes calls, and the fault is in this one
}

// history is what targets have been through together.
type history struct {
	code     ledger.Code   // a pending one: Lost and Doubtful tell that an answer was lost
	attempts int           // calls that failed so far
	waited   time.Duration // between them for the next one: what counts for Policy.GiveUpAfter
	last     time.Time     // when the last of them did; zero = none, or it does not matter
}

func (h history) lost() bool { return h.code == ledger.Lost || h.code == ledger.Doubtful }

// retryAt is when such targets may be sent again.
func (h history) retryAt() time.Time {
	if h.last.IsZero() {
		return h.last
	}
	return h.last.Add(delayAfter(h.attempts))
}

// notDone is the code of such targets after a call that was certainly not carried out.
func (h history) notDone() ledger.Code {
	if h.lost() {
		return ledger.Doubtful
	}
	return ledger.Refused
}

// take cuts the first n targets off a batch.
func (b batch) take(n int) (first, rest batch) {
	end := 0
	for range n {
		end += bytes.IndexByte(b.lines[end:], '\n') + 1
	}
	return b.cutAt(n, end)
}

// cutAt cuts the first n targets off a batch, whose lines end at end.
func (b batch) cutAt(n, end int) (first, rest batch) {
	first, rest = b, b
	first.lines, rest.lines = b.lines[:end], b.lines[end:]
	first.index, rest.index = b.index[:n], b.index[n:]
	return first, rest
}

// split cuts a batch into parts of at most so many targets (0 = leave it
// whole), which stay apart and are due at the same time.
func (b batch) split(most int, due time.Time) (parts []batch) {
	b.due = due
	for most > 0 && len(b.index) > most {
		b.tried = false
		var first batch
		first, b = b.take(most)
		parts = append(parts, first)
	}
	return append(parts, b)
}

// only returns the batch reduced to the targets with these places in it, ascending.
func (b batch) only(places []int) batch {
	kept := b
	kept.lines, kept.index = nil, nil
	i := 0
	for line := range bytes.Lines(b.lines) {
		if len(kept.index) < len(places) && places[len(kept.index)] == i {
			kept.lines = append(kept.lines, line...)
			kept.index = append(kept.index, b.index[i])
		}
		i++
	}
	return kept
}
