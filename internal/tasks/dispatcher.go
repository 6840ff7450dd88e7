package tasks

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"crier/internal/apiclient"
	"crier/internal/gate"
)

// dispatcher decides whose call goes next. Slots offer batches; for each
// target type one lane asks the gate for as many grants as it has use for, and
// gives them to the best waiting batches: those of the job which has had the
// least for its weight. So shares, rates of single jobs and holds are decided
// at the moment of the grant, in one place.
type dispatcher struct {
	urgent   bool
	gate     *gate.Gate
	places   *semaphore.Weighted // for calls in flight
	group    int                 // of places
	lanes    map[apiclient.TargetType]*lane
	gateWait prometheus.Observer
	log      *slog.Logger
}

// offer is a batch that waits for its grant.
type offer struct {
	job     string
	weight  int
	maxRate int
	targets int
	retry   bool         // a call with them has failed
	granted func(permit) // called once at most, by the lane: it must not wait
	suspicion

	since time.Time
	pass  float64     // of its job when it was picked
	paid  bool        // the job's own cap has granted it
	taken atomic.Bool // by a grant, or by the one who offered and waits no longer
}

// permit is the permission to make one call, and one of the places in flight.
type permit struct {
	targets int         // that the call may have: there may be room for fewer than were asked for
	probe   bool        // the gate waits for this call's answer
	held    gate.Reason // what the probe is to find out
	ticket  gate.Ticket // for its answer
	waited  time.Duration
}

// The dispatchers of a worker, and the priorities of jobs in metrics.
const (
	bulkName   = "bulk"
	urgentName = "urgent"
)

// newDispatcher makes a dispatcher with so many places for calls. A lane that has
// use for several gives a group of them a moment to become free together.
func newDispatcher(ctx context.Context, g *gate.Gate, name string, calls, group int, m *Metrics, log *slog.Logger) *dispatcher {
	d := &dispatcher{
		urgent: name == urgentName, gate: g, places: semaphore.NewWeighted(int64(calls)), group: group, lanes: map[apiclient.TargetType]*lane{},
		gateWait: m.gateWait.WithLabelValues(name), log: log,
	}
	for _, t := range apiclient.TargetTypes() {
		l := &lane{dispatcher: d, targetType: t, woken: make(chan struct{}, 1), jobs: map[string]*share{}, busy: map[string]*share{}}
		d.lanes[t] = l
		go l.run(ctx)
	}
	return d
}

// offer lets a call with these targets wait for its permit.
func (d *dispatcher) offer(t apiclient.TargetType, o *offer) {
	o.since = time.Now()
	d.lanes[t].offer(o)
}

// take reports whether the offer was still to be had: the lane takes it to grant
// it, the one who offered to withdraw it.
func (o *offer) take() bool { return o.taken.CompareAndSwap(false, true) }

// release gives the place of a permit back: the call is over, or not made.
func (d *dispatcher) release() { d.places.Release(1) }

// unused gives a permit back with which no call is made.
func (d *dispatcher) unused(ctx context.Context, t apiclient.TargetType, p permit) {
	d.release()
	if !p.probe {
		return // the quota is charged, a little is wasted
	}
	if err := d.gate.Unused(ctx, string(t)); err != nil {
		d.log.Warn("the gate waits for a probe that was not made", "target_type", t, "error", err)
	}
}
