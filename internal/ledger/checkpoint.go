package ledger

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Update says what became of some targets of a segment. One that leaves them
// pending and has no detail changes their code alone and is not remembered.
type Update struct {
	Index    []int32 // ascending
	Code     Code
	Attempts int
	Detail   string
	IDs      []string
}

// Tally counts calls, beside the targets.
type Tally struct {
	Calls     int
	Throttled int
}

// checkpoint is what goes to Redis in one script call.
type checkpoint struct {
	runs   []run // of targets whose code has changed
	counts map[string]int
	log    []byte
}

// run is some targets of a segment in a row.
type run struct{ from, n int32 }

// Commit records updates in one round trip and returns the job's state with
// the counts that follow from the change of each target's code. No target may
// stand in two of them, and none may leave a final outcome but from unknown to
// sent: such updates are refused as a whole. Where Redis does not answer it
// repeats, without counting twice, until ctx ends. ErrFenced says that the claim
// is lost and nothing was recorded, but by a try whose reply was lost, too; any
// other error, that it is not known whether it was.
//
// Unless updates were refused, after an error the segment records nothing more:
// what is known of it here and what Redis has may differ. Release it; the next
// claim reads what is true.
func (s *Segment) Commit(ctx context.Context, tally Tally, updates ...Update) (State, error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("ledger: commit: %w", err)
	}
	if s.broken != nil {
		return "", s.broken
	}
	for _, u := range updates {
		if err := s.check(u); err != nil {
			return "", err
		}
	}
	cp := checkpoint{counts: map[string]int{"calls": tally.Calls, "throttled": tally.Throttled}}
	for _, u := range updates {
		s.apply(&cp, u)
	}
	cp.join()
	s.seq++
	state, err := s.send(ctx, &cp)
	if err != nil {
		s.broken = err
	} else {
		s.state = state
	}
	return state, err
}

// check refuses to let a target leave a final outcome for one that is not truer.
func (s *Segment) check(u Update) error {
	for _, i := range u.Index {
		if old := s.codes[i]; old.final() && (old != AnswerLost || u.Code != Sent) {
			return fmt.Errorf("ledger: target %d of segment %s is %s already", i, s.Name, old.Outcome())
		}
	}
	return nil
}

func (s *Segment) apply(cp *checkpoint, u Update) {
	if len(u.Index) == 0 {
		return
	}
	var before [256]int
	for _, i := range u.Index {
		before[s.codes[i]]++
		s.codes[i] = u.Code
	}
	for code, n := range before {
		if n > 0 {
			cp.move(Code(code), u.Code, n)
		}
	}
	for from, n := range runs(u.Index) {
		cp.runs = append(cp.runs, run{from, n})
	}
	if !u.Code.final() && u.Detail == "" {
		return // a mark: nothing to remember beyond the code
	}
	sep := byte(',')
	if len(cp.log) == 0 {
		sep = '['
	}
	cp.log = Entry{Code: u.Code, Attempts: u.Attempts, Index: u.Index, Detail: u.Detail, IDs: u.IDs}.
		appendJSON(append(cp.log, sep))
}

// move counts targets that go from one code to another.
func (cp *checkpoint) move(from, to Code, n int) {
	cp.counts[string(from.Outcome())] -= n
	cp.counts[string(to.Outcome())] += n
	if from == Lost && to == InFlight {
		cp.counts["resent"] += n
	}
	if reason := from.Reason(); reason != "" {
		cp.counts[reasonPrefix+reason] -= n
	}
	if reason := to.Reason(); reason != "" {
		cp.counts[reasonPrefix+reason] += n
	}
}

// join makes one of runs that touch.
func (cp *checkpoint) join() {
	slices.SortFunc(cp.runs, func(a, b run) int { return cmp.Compare(a.from, b.from) })
	joined := cp.runs[:0]
	for _, r := range cp.runs {
		if last := len(joined) - 1; last >= 0 && r.from == joined[last].from+joined[last].n {
			joined[last].n += r.n
		} else {
			joined = append(joined, r)
		}
	}
	cp.runs = joined
}

// send repeats one checkpoint until Redis has answered it or ctx ends. The
// number it carries makes the repetition harmless.
func (s *Segment) send(ctx context.Context, cp *checkpoint) (State, error) {
	k := s.ledger.keys(s.JobID)
	keys := []string{k.job, k.out, k.log, k.held, k.doc, k.names, k.free}
	args := s.checkpointArgs(cp)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		state, err := checkpointScript.Run(ctx, s.ledger.client, keys, args...).Text()
		switch {
		case err == nil && state == "fenced":
			return "", fmt.Errorf("ledger: commit: %w", ErrFenced)
		case err == nil:
			return State(state), nil
		case ctx.Err() != nil:
			return "", fmt.Errorf("ledger: commit: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(wait) + wait/2):
		}
	}
}

func (s *Segment) checkpointArgs(cp *checkpoint) []any {
	retention, dropDoc := s.ledger.cfg.Retention, ""
	if s.job.Urgent {
		retention, dropDoc = s.ledger.cfg.UrgentRetention, "1"
	}
	if len(cp.log) > 0 {
		cp.log = append(cp.log, ']')
	}
	args := []any{s.Name, s.claim, s.seq, retention.Milliseconds(), dropDoc, cp.log, len(cp.runs)}
	for _, r := range cp.runs {
		codes := make([]byte, r.n)
		for i := range codes {
			codes[i] = byte(s.codes[int(r.from)+i])
		}
		args = append(args, s.base+int(r.from), codes)
	}
	for field, n := range cp.counts {
		if n != 0 {
			args = append(args, field, n)
		}
	}
	return args
}
