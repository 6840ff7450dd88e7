package tasks

import (
	"errors"
	"time"

	"crier/internal/apiclient"
	"crier/internal/gate"
)

// made is the number of calls that were made: none where there was no token for
// it, or no certainty.
func made(err error) int {
	var e *apiclient.Error
	if errors.As(err, &e) && e.NotMade || errors.Is(err, errNotMade) {
		return 0
	}
	return 1
}

// withinQuota reports whether a call was answered by the API, and not for a quota.
func withinQuota(err error) bool {
	var e *apiclient.Error
	if !errors.As(err, &e) {
		return err == nil
	}
	switch e.Kind {
	case apiclient.KindThrottled, apiclient.KindUnavailable, apiclient.KindUnknown, apiclient.KindNoToken:
		return false
	default:
		return true
	}
}

// tell lets the gate know what the answer means for all other calls, and reports
// whether these are held for it now. Where the gate cannot say, they count as
// held: then nothing is settled that another answer could still put right.
func (s *slot) tell(t apiclient.TargetType, p permit, d decision, answer error) (held bool) {
	var err error
	switch {
	case d.scope != "":
		var wait time.Duration
		wait, err = s.gate.Throttled(s.recording, string(t), gate.Throttle{
			Ticket: p.ticket, Scope: gate.Scope(d.scope), Probe: p.probe, Asked: d.asked,
		})
		if held = err != nil || wait > 0; held && s.holding.due() {
			s.log.Warn("the quota is used up, calls are held", "target_type", t, "scope", d.scope, "for", wait.String())
		}
	case d.hold != nil:
		hold := *d.hold
		if d.shed {
			hold.Shed = p.ticket
		}
		var wait time.Duration
		wait, err = s.gate.Report(s.recording, string(t), p.probe, hold)
		held = err != nil || wait > 0
		if held && (p.probe || s.holding.due()) {
			s.log.Warn("calls are held", "target_type", t, "reason", d.hold.Reason, "for", wait.String(), "result", d.result,
				"said", inWords(answer, hold))
		}
	case d.success():
		if p.probe || s.gate.InRow(string(t)) {
			err = s.gate.Passed(s.recording, string(t), p.probe)
		}
		if p.probe {
			s.log.Info("calls go again", "target_type", t)
		}
	case p.probe && d.result == string(apiclient.KindNoToken):
		err = s.gate.Unused(s.recording, string(t)) // it did not get so far
	case p.probe && p.held == gate.ReasonQuota, p.probe && !d.again && p.held != gate.ReasonRejected:
		err = s.gate.Over(s.recording, string(t), p.held) // it was answered, and not for this cause
	case p.probe:
		// It was not answered in a way that says anything of the cause of the hold.
		_, err = s.gate.Report(s.recording, string(t), true, gate.Hold{Reason: p.held, Base: holdBase, Max: holdMax})
	}
	if err != nil {
		s.log.Warn("the gate could not be told of an answer", "target_type", t, "error", err)
	}
	return held
}

// inWords is what the API itself has said, for whoever has to find out why calls
// are held. While they are, no target has a result row that would tell.
func inWords(answer error, h gate.Hold) string {
	var e *apiclient.Error
	if errors.As(answer, &e) {
		return detailOf(e)
	}
	return h.Alike // a 200 in which every target is refused
}

// pass notes that a call passed, which began then.
func (w *Worker) pass(t apiclient.TargetType, began time.Time) { w.passes[t].Store(&began) }

// passed is when a call began that passed, the last one that this worker made.
func (w *Worker) passed(t apiclient.TargetType) time.Time {
	if began := w.passes[t].Load(); began != nil {
		return *began
	}
	return time.Time{}
}
