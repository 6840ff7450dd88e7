package tasks

import (
	"context"
	"reflect"
	"time"

	"crier/internal/apiclient"
	"crier/internal/ledger"
)

// hints are what refused calls have told of limits, for the targets that were
// in them. They are believed once a call within them was accepted: a refusal
// may have had another cause.
type hints struct {
	limit    int // targets of a call, as the API has named it; 0 = it has not
	tooLarge int // bytes of a body that was; 0 = none was
}

// learn shares with the fleet what an accepted call confirms, if it is news.
func (s *slot) learn(t apiclient.TargetType, h hints, bytes int) {
	if !s.inForce.Load().news(t, h, bytes) {
		return
	}
	s.learning.Lock() // what several calls find out at once is told once
	defer s.learning.Unlock()
	if !s.inForce.Load().news(t, h, bytes) {
		return
	}
	err := s.ledger.Learn(s.recording, ledger.Lesson{TargetType: string(t), MaxTargets: h.limit, Refused: h.tooLarge, Accepted: bytes})
	if err == nil {
		err = s.readLimits(s.recording)
	}
	s.log.Warn("the API takes less in a call than configured", "target_type", t,
		"told_targets", h.limit, "refused_bytes", h.tooLarge, "accepted_bytes", bytes, "error", err)
}

// news reports whether an accepted call tells more than is known.
func (l *Limits) news(t apiclient.TargetType, h hints, bytes int) bool {
	return h.limit > 0 && h.limit < l.MaxTargets[t] ||
		h.tooLarge > 0 && (l.learned.Refused == 0 || h.tooLarge < l.learned.Refused) ||
		l.given > 0 && bytes > l.learned.Accepted
}

// readLimits takes over what the fleet has learned. Where nobody's limits are
// published any more, as after a loss of Redis's data, this worker's are.
func (w *Worker) readLimits(ctx context.Context) error {
	published, learned, err := w.ledger.Limits(ctx)
	if err == nil && published == nil {
		err = w.Prepare(ctx)
	}
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(learned, w.inForce.Load().learned) {
		limits := w.cfg.Limits.lowered(learned)
		w.inForce.Store(&limits)
	}
	return nil
}

// followLimits reads the limits once a second.
func (w *Worker) followLimits() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := w.readLimits(w.draining); err != nil && w.draining.Err() == nil && w.blind.due() {
			w.log.Warn("the limits in force cannot be read", "error", err)
		}
		select {
		case <-w.draining.Done():
			return
		case <-tick.C:
		}
	}
}
