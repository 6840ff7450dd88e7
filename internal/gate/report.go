package gate

import (
	"context"
	"fmt"
	"time"
)

// Hold is what an answer asks of all calls of its target type.
type Hold struct {
	Reason Reason
	Base   time.Duration // the first hold; doubles with every probe that fails
	Max    time.Duration // the longest
	Asked  time.Duration // what the API asked for, 0 = nothing: the hold is at least as long

	// Row is how many such answers it takes, without a success between, before
	// calls are held: a single one may be its target's own fault. 0 = one is enough.
	Row   int
	Alike string        // what makes them such, beside the reason
	Few   time.Duration // a quarter of Row is enough once the row has lasted so long; 0 = it never is

	// Shed is the ticket of a call that the API might have taken at a lower rate: a
	// 503 may be its way to shed load. Zero = the rate has nothing to do with it.
	Shed Ticket
}

// Report tells the gate of a granted call that was answered in a way that asks
// for a hold. It returns how long calls are held now; 0 where the row is still
// too short for that.
func (g *Gate) Report(ctx context.Context, targetType string, probe bool, h Hold) (time.Duration, error) {
	return g.report(ctx, targetType, string(h.Reason), probe, h)
}

// Passed tells the gate of a success, which ends all rows. That of a probe ends
// the hold, too: calls go again.
func (g *Gate) Passed(ctx context.Context, targetType string, probe bool) error {
	_, err := g.report(ctx, targetType, "ok", probe, Hold{})
	return err
}

// Over tells the gate that a probe was no success, and yet answered in a way that
// shows that the cause of the hold is gone. Rows go on.
func (g *Gate) Over(ctx context.Context, targetType string, held Reason) error {
	_, err := g.report(ctx, targetType, "over", true, Hold{Alike: string(held)})
	return err
}

// Unused tells the gate that a probe was granted and its call not made, so
// that nobody waits for its answer.
func (g *Gate) Unused(ctx context.Context, targetType string) error {
	_, err := g.report(ctx, targetType, "unused", true, Hold{})
	return err
}

// InRow reports whether a success is news to the gate: by its last answers,
// calls were refused in a row.
func (g *Gate) InRow(targetType string) bool {
	_, found := g.rows.Load(targetType)
	return found
}

func (g *Gate) noteRow(subject string, row bool) {
	if row {
		g.rows.Store(subject, nil)
	} else if g.InRow(subject) {
		g.rows.Delete(subject)
	}
}

func (g *Gate) report(ctx context.Context, targetType, verdict string, probe bool, h Hold) (time.Duration, error) {
	flag := ""
	if probe {
		flag = "1"
	}
	keys := append([]string{g.key(targetType, "state")}, g.paces(targetType)...)
	reply, err := reportScript.Run(ctx, g.client, keys, g.now(), verdict, flag,
		h.Base.Microseconds(), h.Max.Microseconds(), h.Asked.Microseconds(), h.Row, h.Few.Microseconds(), h.Alike, h.Shed.calls).Int64Slice()
	if err != nil {
		return 0, fmt.Errorf("gate: report: %w", err)
	}
	if len(reply) != 2 {
		return 0, fmt.Errorf("gate: report: reply of %d parts", len(reply))
	}
	g.noteRow(targetType, reply[1] == 1)
	return time.Duration(reply[0]) * time.Microsecond, nil
}
