package tasks

import (
	"slices"
	"time"

	"crier/internal/chunker"
	"crier/internal/ledger"
)

// takeOver settles what a former owner left in flight and returns all pending
// targets in groups of the same history.
func (s *slot) takeOver(segment *ledger.Segment) (todo []batch, err error) {
	if segment.Untouched() {
		return []batch{{lines: segment.Lines, index: upto(segment.Count)}}, nil
	}
	var adrift []ledger.Update
	segment.Pending(func(i int32, code ledger.Code, try ledger.Try) {
		h := history{code, try.Attempts, try.Waited, try.LastFailed}
		if code == ledger.InFlight {
			if h = h.adrift(); s.job.Hold || s.policy.spent(h) {
				h.code = ledger.AnswerLost
			}
			if n := len(adrift); n == 0 || adrift[n-1].Attempts != h.attempts || adrift[n-1].Code != h.code {
				adrift = append(adrift, ledger.Update{Code: h.code, Attempts: h.attempts, Detail: "the worker ended before it had recorded the answer"})
			}
			last := &adrift[len(adrift)-1]
			last.Index = append(last.Index, i)
		}
		if h.code == ledger.AnswerLost {
			return
		}
		if n := len(todo); n == 0 || todo[n-1].history != h {
			todo = append(todo, batch{history: h, due: h.retryAt()})
		}
		b := &todo[len(todo)-1]
		b.lines = append(append(b.lines, segment.Target(i)...), '\n')
		b.index = append(b.index, i)
	})
	if len(adrift) > 0 {
		s.log.Warn("calls of a worker that is gone may have been carried out", "segment", segment.Name)
	}
	if len(adrift) == 0 && len(todo) > 0 {
		return todo, nil
	}
	// With nothing pending this settles the job's end, should it still be open.
	state, err := segment.Commit(s.recording, ledger.Tally{}, adrift...)
	s.noteState(state)
	for _, u := range adrift {
		s.metrics.outcome(s.job, u)
	}
	return todo, err
}

// upto counts from 0 to n-1.
func upto(n int) []int32 {
	index := make([]int32, n)
	for i := range index {
		index[i] = int32(i)
	}
	return index
}

// adrift is the history of targets that a former owner left in flight.
func (h history) adrift() history {
	h.code, h.last = ledger.Lost, time.Time{}
	h.attempts++
	return h
}

// next cuts one batch off the first group of targets that is due. None is due
// where the batch is empty. A group whose first target fits no call is put off.
func (c *campaign) next(todo *[]batch, now time.Time) (batch, chunker.Batch, error) {
	for i := range *todo {
		group := &(*todo)[i]
		if group.due.After(now) {
			continue
		}
		limits := c.cut
		if c.trial > 0 {
			limits.MaxBytes, c.trial = c.trial, 0
		}
		c.fill(todo, i, now)
		group = &(*todo)[i]
		cut, _, err := limits.Next(group.lines)
		if err != nil {
			group.due = now.Add(putOff)
			return batch{}, chunker.Batch{}, err
		}
		var b batch
		if b, *group = group.cutAt(cut.Count, len(cut.Lines)); len(group.index) == 0 {
			*todo = slices.Delete(*todo, i, i+1)
		}
		return b, cut, nil
	}
	return batch{}, chunker.Batch{}, nil
}

// fill adds targets of the next group to one that is less than a full call, if
// they have the same past: what was left of a call that was cut down goes with others.
func (c *campaign) fill(todo *[]batch, i int, now time.Time) {
	if i+1 == len(*todo) {
		return
	}
	group, next := &(*todo)[i], &(*todo)[i+1]
	room := c.cut.MaxTargets - len(group.index)
	if room <= 0 || len(group.lines) >= c.cut.MaxBytes || !group.plain() || !next.plain() || group.history != next.history || next.due.After(now) {
		return
	}
	first, rest := next.take(min(room, len(next.index)))
	group.lines, group.index = slices.Concat(group.lines, first.lines), slices.Concat(group.index, first.index)
	if *next = rest; len(rest.index) == 0 {
		*todo = slices.Delete(*todo, i+1, i+2)
	}
}

// plain reports whether nothing is known of a batch but its history.
func (b batch) plain() bool { return b.hints == hints{} && b.suspicion == suspicion{} }

// untilDue is how long none of the targets is due; 0 where there are none.
func untilDue(todo []batch, now time.Time) time.Duration {
	if len(todo) == 0 {
		return 0
	}
	first := slices.MinFunc(todo, func(a, b batch) int { return a.due.Compare(b.due) })
	return max(first.due.Sub(now), 0)
}
