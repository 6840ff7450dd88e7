package tasks

import (
	"context"
	"errors"
	"slices"
	"time"

	"crier/internal/apiclient"
	"crier/internal/chunker"
	"crier/internal/gate"
	"crier/internal/ledger"
)

// inPlace is the longest delay for which targets wait in their slot; before a
// longer one the segment goes back to the ledger.
const inPlace = 3 * time.Second

// errNotMade stands for a call that was not made, since the claim may be lost.
var errNotMade = errors.New("tasks: Redis has not heard of this worker in time")

// errNotRunning says that a job was paused, cancelled or ended meanwhile.
var errNotRunning = errors.New("tasks: the job does not run any more")

// delivery is the work on the targets of one segment. Their batches are offered
// to the dispatcher, granted, marked, posted, classified and recorded; several
// are on their way at a time, each at its own place. What has come back and
// what was granted meanwhile is recorded and marked together: one round trip to
// Redis serves many batches.
type delivery struct {
	*slot
	segment  *ledger.Segment
	campaign *campaign
	todo     []batch // to be offered, once they are due

	offered []*flight    // that wait for a permit
	granted chan *flight // by the dispatcher
	calls   int          // that are being made
	landed  chan *flight // whose calls are over

	outgoing []*flight // granted, and not yet marked
	incoming []*flight // landed, and not yet recorded
	patience *time.Timer
}

// flight is a batch on its way.
type flight struct {
	batch
	cut      chunker.Batch
	campaign *campaign
	offer    offer
	permit   permit

	err      error         // of the call
	took     time.Duration // the call
	over     time.Time     // when it was, by Redis's clock
	decision decision      // what follows from it
}

func newDelivery(s *slot, segment *ledger.Segment, c *campaign, todo []batch) *delivery {
	d := &delivery{
		slot: s, segment: segment, campaign: c, todo: todo,
		granted: make(chan *flight, window), landed: make(chan *flight, window),
		patience: time.NewTimer(linger),
	}
	d.patience.Stop()
	return d
}

// run makes calls until nothing is left to do, or the time is over, or what is
// left has to wait for long. It returns after which delay the pending targets
// may be claimed again.
func (d *delivery) run() (delay time.Duration) {
	stop, cancel := context.WithCancel(d.stop)
	defer cancel()
	if !d.job.ExpiresAt.IsZero() {
		stop, cancel = context.WithTimeout(stop, d.job.ExpiresAt.Sub(d.clock()))
		defer cancel()
	}
	defer d.patience.Stop()
	for {
		stopped := stop.Done()
		if stop.Err() == nil {
			d.offer()
		} else {
			d.withdraw()
			stopped = nil // it is known
		}
		delay = untilDue(d.todo, time.Now())
		if len(d.offered)+d.calls+len(d.incoming) == 0 && (len(d.todo) == 0 || delay > inPlace || stopped == nil) {
			return delay
		}
		if d.wait(stopped, delay) {
			if err := d.turn(); err != nil {
				cancel() // nothing of this segment is to be sent now
			}
		}
	}
}

// offer cuts batches off what is to be done, and lets them wait for their permits.
func (d *delivery) offer() {
	for d.room() {
		d.renew()
		b, cut, err := d.campaign.next(&d.todo, time.Now())
		if err != nil {
			d.unfit(d.segment, err)
			continue // it has been put off, others may fit
		}
		if cut.Count == 0 {
			return
		}
		f := &flight{batch: b, cut: cut, campaign: d.campaign} // d.campaign changes with the limits
		f.offer = offer{
			job: d.job.ID, weight: d.job.Weight, maxRate: d.job.MaxRate, targets: cut.Count, retry: b.attempts > 0, suspicion: b.suspicion,
			granted: func(p permit) { f.permit = p; d.granted <- f },
		}
		d.offered = append(d.offered, f)
		d.dispatch.offer(d.campaign.targetType, &f.offer)
	}
}

// room reports whether further batches may be on their way.
func (d *delivery) room() bool { return len(d.offered)+d.calls < window }

// renew keeps the campaign within the limits of now.
func (d *delivery) renew() {
	limits := d.inForce.Load()
	if limits == d.campaign.limits {
		return
	}
	if again, err := newCampaign(d.document, limits); err == nil {
		d.campaign = &again
	} // else the API says what it does not take
}

// wait sleeps until something has happened: what is stopped, if not nil, or the
// delay after which something may be offered, too. It reports whether it is time
// for a turn: at once where something was granted or no call is left to wait for,
// else after a moment in which more may land.
func (d *delivery) wait(stopped <-chan struct{}, delay time.Duration) bool {
	var due <-chan time.Time
	if stopped != nil && len(d.todo) > 0 && d.room() {
		due = time.After(delay)
	}
	select {
	case f := <-d.granted:
		d.grant(f)
	case f := <-d.landed:
		d.land(f)
	case <-d.patience.C:
		return true
	case <-due:
	case <-stopped:
	}
	for {
		select {
		case f := <-d.granted:
			d.grant(f)
		case f := <-d.landed:
			d.land(f)
		default:
			return len(d.outgoing) > 0 || len(d.incoming) > 0 && d.calls == 0
		}
	}
}

func (d *delivery) grant(f *flight) {
	at := slices.Index(d.offered, f)
	d.offered = slices.Delete(d.offered, at, at+1)
	if f.permit.probe && (f.permit.held == gate.ReasonRejected || f.permit.held == gate.ReasonOutage) {
		// If that is refused, it is less likely for a bad target among others, and if
		// its answer is lost, that of one.
		f.permit.targets = 1
	}
	d.trim(f)
	d.outgoing = append(d.outgoing, f)
}

// trim leaves as many targets in the call as it may have.
func (d *delivery) trim(f *flight) {
	if f.permit.targets >= len(f.index) {
		return
	}
	first, rest := f.take(f.permit.targets)
	cut, _, err := f.campaign.cut.Next(first.lines)
	if err != nil {
		return
	}
	first.hints = hints{} // of so small a call nothing is to be learned
	first.tried, rest.tried = false, false
	f.batch, f.cut = first, cut
	d.todo = append([]batch{rest}, d.todo...)
}

func (d *delivery) land(f *flight) {
	d.calls--
	if d.incoming = append(d.incoming, f); len(d.incoming) == 1 {
		d.patience.Reset(linger)
	}
}

// withdraw takes back what waits for a permit, but for what is just being granted.
func (d *delivery) withdraw() {
	d.offered = slices.DeleteFunc(d.offered, func(f *flight) bool {
		mine := f.offer.take()
		if mine {
			d.todo = append(d.todo, f.batch)
		}
		return mine
	})
}

// turn records what has landed and marks what was granted, in one round trip,
// and lets that go. An error says that nothing more of the segment is to be
// sent now.
func (d *delivery) turn() error {
	incoming, outgoing := d.incoming, d.outgoing
	d.incoming, d.outgoing = nil, nil
	d.patience.Stop()

	// Record: outcomes and counts together. Mark: should this process end while
	// a call is made, the ledger knows whose answer was lost.
	var tally ledger.Tally
	var updates []ledger.Update
	for _, f := range incoming {
		tally.Calls += made(f.err)
		tally.Throttled += f.decision.throttled()
		updates = append(updates, f.decision.updates...)
	}
	for _, f := range outgoing {
		updates = append(updates, ledger.Update{Index: f.index, Code: ledger.InFlight})
	}
	state, err := d.segment.Commit(d.recording, tally, updates...)
	d.noteState(state)
	for _, f := range incoming {
		d.settle(f, err)
	}
	switch {
	case err != nil:
		d.ground(outgoing)
	case state != ledger.StateRunning:
		err = errors.Join(errNotRunning, d.unmark(outgoing))
		d.ground(outgoing)
	default:
		d.calls += len(outgoing)
		for _, f := range outgoing {
			d.crew.run(func() { d.post(f); d.landed <- f })
		}
	}
	return err
}

// post makes the call: every answer is classified once, in apiclient, and every
// class is decided on once, in decide. What the answer means for all other calls
// cannot wait for the record.
func (d *delivery) post(f *flight) {
	if !d.ledger.Leased() { // since the mark: others may be at these targets
		d.dispatch.unused(d.recording, f.campaign.targetType, f.permit)
		f.err, f.decision = errNotMade, stays(f.batch, f.notDone(), resultNotMade)
		f.decision.delay, f.bytes = beatEvery/2, 0
		return
	}
	buffer := d.bodies.Get().(*[]byte)
	defer d.bodies.Put(buffer)
	body := f.campaign.appendBody((*buffer)[:0], f.cut)
	*buffer, f.bytes = body, len(body)
	started := time.Now()
	answer, err := d.client.Send(d.calling, apiclient.Call{
		TargetType: f.campaign.targetType, Body: body, Lines: f.cut.Lines, Count: f.cut.Count,
	})
	d.dispatch.release() // the place is for the call, not for its record
	f.err, f.took, f.over = err, time.Since(started), d.clock()
	f.cleared = !f.refused.IsZero() && d.passed(f.campaign.targetType).After(f.refused)
	f.decision = decide(f.batch, answer, err, d.job.Hold, d.policy, time.Now())
	if withinQuota(err) {
		d.gate.Accepted(string(f.campaign.targetType), f.permit.ticket, len(f.index))
	}
	if held := d.tell(f.campaign.targetType, f.permit, f.decision, f.err); held && f.decision.held != nil {
		f.decision = *f.decision.held
	}
	if f.decision.success() {
		d.pass(f.campaign.targetType, started)
	}
	if err == nil {
		d.learn(f.campaign.targetType, f.hints, f.bytes)
	}
}

// settle ends a batch's way: what is left of it is to be done again. The error
// says why it could not be recorded.
func (d *delivery) settle(f *flight, err error) {
	d.metrics.call(d.job, f.batch, f.decision, f.over)
	d.logCall(f)
	if err != nil {
		d.late(f, err)
		return // nothing more of the segment is sent from here
	}
	for _, u := range f.decision.updates {
		d.metrics.outcome(d.job, u)
	}
	if f.decision.again {
		d.metrics.retries.WithLabelValues(f.decision.result).Inc()
		left := f.decision.left.split(f.decision.most, time.Now().Add(f.decision.delay))
		// Those go first that have not failed; and whether others fare better is to be known.
		if left[0].tried || left[0].attempts > 0 || f.decision.most > 0 && left[0].hints == (hints{}) {
			d.todo = append(d.todo, left...)
		} else {
			d.todo = append(left, d.todo...)
		}
	}
}

// ground keeps batches back that were granted.
func (d *delivery) ground(flights []*flight) {
	for _, f := range flights {
		d.dispatch.unused(d.recording, f.campaign.targetType, f.permit)
		d.todo = append(d.todo, f.batch)
	}
}

// unmark takes back that batches are in flight.
func (d *delivery) unmark(flights []*flight) error {
	if len(flights) == 0 {
		return nil
	}
	var updates []ledger.Update
	for _, f := range flights {
		updates = append(updates, ledger.Update{Index: f.index, Code: f.notDone()})
	}
	_, err := d.segment.Commit(d.recording, ledger.Tally{}, updates...)
	return err
}
