package gate

import (
	"math"
	"time"
)

// share is how much of the fleet's calls a process was granted lately. It keeps
// to that where the gate cannot be asked: so the fleet stays within its quota.
type share struct {
	calls, targets float64   // a second
	at             time.Time // of the last grant that is counted
	held           time.Time // nothing goes until then, as the gate has said
	next           time.Time // when the next call may go
}

// recent is the time over which grants are averaged.
const recent = 10 * time.Second

// note counts a grant of the gate.
func (s *share) note(now time.Time, grant Grant, targets []int) {
	if grant.Held != "" && grant.Held != ReasonQuota {
		s.held = now.Add(grant.Wait)
	}
	if grant.Calls == 0 {
		return
	}
	sum := 0
	for _, n := range targets[:grant.Calls] {
		sum += n
	}
	sum += grant.Last - targets[grant.Calls-1]
	fades := math.Exp(-now.Sub(s.at).Seconds() / recent.Seconds())
	s.calls = s.calls*fades + float64(grant.Calls)/recent.Seconds()
	s.targets = s.targets*fades + float64(sum)/recent.Seconds()
	s.at = now
}

// catchUp is how late a call may be and yet keep its place: a question that the
// gate does not answer takes time.
const catchUp = 600 * time.Millisecond

// ahead is how far urgent calls may go beyond the share; others then wait for it.
const ahead = time.Second

// grant lets those calls go that the share has room for.
func (s *share) grant(now time.Time, urgent bool, targets []int) Grant {
	if s.calls == 0 { // nothing was granted yet: there is no share
		return Grant{Wait: time.Second}
	}
	if wait := s.held.Sub(now); wait > 0 {
		return Grant{Wait: wait}
	}
	if earliest := now.Add(-catchUp); s.next.Before(earliest) {
		s.next = earliest
	}
	upto := now
	if urgent {
		upto = now.Add(ahead)
	}
	var g Grant
	for _, n := range targets {
		if s.next.After(upto) {
			g.Wait = s.next.Sub(upto)
			break
		}
		spacing := max(1/s.calls, float64(n)/s.targets)
		s.next = s.next.Add(time.Duration(spacing * float64(time.Second)))
		g.Calls, g.Last = g.Calls+1, n
	}
	return g
}
