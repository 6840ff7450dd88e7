package tasks

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"crier/internal/apiclient"
	"crier/internal/gate"
)

// dispatcher decides whose call goes next. Slots offer batches; for each
// target type one lane asks the gate for as many grants as it has use for, and
// gives them to the best waiting batches: those of the job which has had the
// least for its weight. So shares, rates of single jobs and holds are decided
// at the moment of the grant, in one place.
type dispatcher struct {
	gate    *gate.Gate
	calls   chan struct{} // one for each call in flight
	lanes   map[apiclient.TargetType]*lane
	metrics *metrics
	log     *slog.Logger
	name    string // priority, for metrics
}

// offer is a batch that waits for its grant.
type offer struct {
	job     string
	weight  int
	maxRate int
	targets int

	pass    float64 // of its job when it was picked
	paid    bool    // the job's own cap has granted it
	granted chan pass
	taken   atomic.Bool // by a grant, or by the one who offered and waits no longer
}

// pass is the permission to make one call.
type pass struct {
	probe bool        // the gate waits for this call's answer
	held  gate.Reason // what the probe is to find out
}

func newDispatcher(ctx context.Context, g *gate.Gate, name string, calls int, m *metrics, log *slog.Logger) *dispatcher {
	d := &dispatcher{
		gate: g, calls: make(chan struct{}, calls), lanes: map[apiclient.TargetType]*lane{},
		metrics: m, log: log, name: name,
	}
	for _, t := range apiclient.TargetTypes() {
		l := &lane{dispatcher: d, targetType: t, offers: make(chan *offer), jobs: map[string]*share{}}
		d.lanes[t] = l
		go l.run(ctx)
	}
	return d
}

// acquire waits until a call with these targets may go, or ctx ends. The call
// occupies one of the dispatcher's places until release.
func (d *dispatcher) acquire(ctx context.Context, t apiclient.TargetType, o *offer) (pass, error) {
	asked := time.Now()
	o.granted = make(chan pass, 1)
	select {
	case d.lanes[t].offers <- o:
	case <-ctx.Done():
		return pass{}, ctx.Err()
	}
	select {
	case <-ctx.Done():
		if o.taken.CompareAndSwap(false, true) {
			return pass{}, ctx.Err()
		}
	case p := <-o.granted:
		d.metrics.gateWait.WithLabelValues(d.name).Observe(time.Since(asked).Seconds())
		return p, nil
	}
	return <-o.granted, nil // granted at the same moment: it is paid for, so it is used
}

func (d *dispatcher) release() { <-d.calls }

// unused gives a pass back with which no call was made.
func (d *dispatcher) unused(ctx context.Context, t apiclient.TargetType, p pass) {
	if !p.probe {
		return // the quota is charged, a little is wasted
	}
	if err := d.gate.Unused(ctx, string(t)); err != nil {
		d.log.Warn("the gate waits for a probe that was not made", "target_type", t, "error", err)
	}
}
