package tasks

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crier/internal/apiclient"
	"crier/internal/gate"
	"crier/internal/redistest"
)

// unpaced is a gate that begins far above what tests do.
func unpaced() gate.Config {
	config := gate.DefaultConfig()
	config.Beginning = 1e6
	return config
}

func startDispatcher(t *testing.T, calls int, quotas gate.Quotas) *dispatcher {
	t.Helper()
	config := unpaced()
	config.Quotas = quotas
	g := gate.New(redistest.Start(t).Client(), config)
	return newDispatcher(t.Context(), g, "bulk", calls, calls/4, NewMetrics(prometheus.NewRegistry(), apiclient.FormUnified), slog.New(slog.DiscardHandler))
}

// acquire waits for a permit, or until ctx ends.
func (d *dispatcher) acquire(ctx context.Context, t apiclient.TargetType, o *offer) error {
	granted := make(chan struct{})
	o.granted = func(permit) { close(granted) }
	d.offer(t, o)
	select {
	case <-granted:
		return nil
	case <-ctx.Done():
	}
	if o.take() {
		return ctx.Err()
	}
	<-granted
	return nil
}

// take acquires and releases until the job has been granted n calls, or ctx ends.
func take(ctx context.Context, d *dispatcher, o *offer, n int, granted func()) {
	for range n {
		mine := offer{job: o.job, weight: o.weight, maxRate: o.maxRate, targets: o.targets}
		if err := d.acquire(ctx, apiclient.Users, &mine); err != nil {
			return
		}
		granted()
		d.release()
	}
}

func TestJobsShareByWeight(t *testing.T) {
	d := startDispatcher(t, 1, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	got := map[string]float64{}
	var all sync.WaitGroup
	for job, weight := range map[string]int{"one": 1, "three": 3} {
		for range 8 { // as a slot does, several offers wait at a time
			all.Go(func() {
				take(ctx, d, &offer{job: job, weight: weight, targets: 100}, math.MaxInt, func() {
					mu.Lock()
					defer mu.Unlock()
					if got[job]++; got["one"]+got["three"] >= 400 {
						cancel()
					}
				})
			})
		}
	}
	all.Wait()
	if share := got["three"] / (got["one"] + got["three"]); share < 0.70 || share > 0.80 {
		t.Errorf("weights 1 and 3 got %v", got)
	}
}

func TestAcquireGivesUpWithItsContext(t *testing.T) {
	d := startDispatcher(t, 1, nil)
	first := &offer{job: "a", targets: 1}
	if err := d.acquire(t.Context(), apiclient.Users, first); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := d.acquire(ctx, apiclient.Users, &offer{job: "b", targets: 1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("with all places taken: %v", err)
	}
	d.release()
	// The place that the one who left would have taken is there for others.
	if err := d.acquire(t.Context(), apiclient.Users, &offer{job: "c", targets: 1}); err != nil {
		t.Fatal(err)
	}
	d.release()
}

func TestPlacesAreNeverLost(t *testing.T) {
	d := startDispatcher(t, 3, nil)
	var all sync.WaitGroup
	for i := range 24 {
		all.Go(func() {
			for range 40 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*20)*time.Microsecond)
				if err := d.acquire(ctx, apiclient.Users, &offer{job: "j", targets: 1}); err == nil {
					d.release()
				}
				cancel()
			}
		})
	}
	all.Wait()
	for range 3 {
		if err := d.acquire(t.Context(), apiclient.Users, &offer{job: "j", targets: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if d.places.TryAcquire(1) {
		t.Error("a fourth of 3 places is free")
	}
}

// A job at its own cap takes nothing from the others.
func TestCappedJobLetsOthersGo(t *testing.T) {
	d := startDispatcher(t, 4, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	capped, free := 0, 0
	var all sync.WaitGroup
	stop, end := context.WithCancel(ctx)
	all.Go(func() {
		take(stop, d, &offer{job: "capped", maxRate: 10, targets: 10}, math.MaxInt, func() { capped++ })
	})
	all.Go(func() { take(ctx, d, &offer{job: "free", targets: 10}, 300, func() { free++ }); end() })
	all.Wait()
	if free != 300 {
		t.Errorf("the free job got %d of 300 calls", free)
	}
	if capped > 100 {
		t.Errorf("a job of 10 targets a second got %d calls of 10", capped)
	}
}

func TestTypesDoNotWaitForEachOther(t *testing.T) {
	d := startDispatcher(t, 2, gate.Quotas{"users": {{N: 1, Window: time.Hour}}})
	if err := d.acquire(t.Context(), apiclient.Users, &offer{job: "u", targets: 1}); err != nil {
		t.Fatal(err)
	}
	d.release()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if err := d.acquire(ctx, apiclient.Users, &offer{job: "u", targets: 1}); err == nil {
			t.Error("a second call within the hour")
		}
	})
	if err := d.acquire(t.Context(), apiclient.ChatRooms, &offer{job: "r", targets: 1}); err != nil {
		t.Error(err)
	}
	cancel()
	all.Wait()
}

// A job that comes later does not wait for calls that others were refused.
func TestNewJobAfterRefusals(t *testing.T) {
	d := startDispatcher(t, 32, gate.Quotas{"users": {{N: 1, Window: 200 * time.Millisecond}}})
	ctx, cancel := context.WithCancel(t.Context())
	order := make(chan string)
	var all sync.WaitGroup
	compete := func(job string, offers int) {
		for range offers {
			all.Go(func() {
				take(ctx, d, &offer{job: job, targets: 250}, math.MaxInt, func() {
					select {
					case order <- job:
					case <-ctx.Done():
					}
				})
			})
		}
	}
	compete("old", 32)
	for range 3 {
		<-order
	}
	compete("new", 1)
	olds := 0
	for <-order == "old" {
		olds++
	}
	if olds > 3 {
		t.Errorf("%d calls of the old job came before the first of the new one", olds)
	}
	cancel()
	all.Wait()
}

// A job saves up nothing of its own cap while calls are held.
func TestCappedJobAfterHold(t *testing.T) {
	d := startDispatcher(t, 32, nil)
	const held = 2 * time.Second // ten times that the lane asks in vain
	if _, err := d.gate.Report(t.Context(), "users", false, gate.Hold{Reason: gate.ReasonPlan, Base: held, Max: held}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan struct{}, 100)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			take(ctx, d, &offer{job: "capped", targets: 100, maxRate: 100}, 1, func() { calls <- struct{}{} })
		})
	}
	<-calls // the probe
	if err := d.gate.Passed(t.Context(), "users", true); err != nil {
		t.Fatal(err)
	}
	<-time.After(900 * time.Millisecond)
	if n := len(calls); n > 2 {
		t.Errorf("%d calls of 100 targets within a second of a job with a cap of 100", n)
	}
	cancel()
	all.Wait()
}

// While the API refuses whatever is sent, probes go to what is likeliest to pass:
// not refused yet, not even as a part of another one, and with the fewest targets.
func TestProbesOfARefusedBatch(t *testing.T) {
	d := startDispatcher(t, 8, nil)
	hold := gate.Hold{Reason: gate.ReasonRejected, Base: 20 * time.Millisecond, Max: 20 * time.Millisecond}
	report := func(probe bool) {
		t.Helper()
		if _, err := d.gate.Report(t.Context(), "users", probe, hold); err != nil {
			t.Fatal(err)
		}
	}
	hold.Base, hold.Max = time.Second, time.Second // until all are there
	report(false)
	hold.Base, hold.Max = 20*time.Millisecond, 20*time.Millisecond
	granted := make(chan *offer, 10)
	add := func(job string, targets int, s suspicion) {
		o := &offer{job: job, targets: targets, suspicion: s}
		o.granted = func(p permit) {
			if !p.probe || p.held != gate.ReasonRejected {
				t.Errorf("%+v is no probe: %+v", o, p)
			}
			granted <- o
		}
		d.offer(apiclient.Users, o)
	}
	part, tried := suspicion{refused: noon}, suspicion{refused: noon, tried: true}
	add("a", 114, part)
	add("a", 1, tried)
	add("a", 115, part)
	add("b", 231, tried)
	add("b", 58, part)
	add("b", 230, suspicion{})
	for _, want := range []int{230, 58, 114, 115, 1, 231} {
		if o := <-granted; o.targets != want {
			t.Errorf("a probe of %d targets, want %d", o.targets, want)
		}
		d.release()
		report(true)
	}
}
