package tasks

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"crier/internal/apiclient"
)

// order lets all offers wait at once, with a single place for calls, and returns
// them as they were granted.
func order(t *testing.T, offers []*offer) (granted []*offer) {
	t.Helper()
	d := startDispatcher(t, 1, nil)
	var all sync.WaitGroup
	all.Add(len(offers))
	l := d.lanes[apiclient.Users]
	l.mu.Lock() // until all are there
	for _, o := range offers {
		o.granted = func(permit) {
			granted = append(granted, o) // by the lane alone
			d.release()
			all.Done()
		}
		l.waiting = append(l.waiting, o)
	}
	l.mu.Unlock()
	l.woken <- struct{}{}
	all.Wait()
	return granted
}

// However much has failed: while other targets wait, a tenth of the calls at most is for it.
func TestRetriesAreATenth(t *testing.T) {
	var offers []*offer
	for i := range 400 {
		offers = append(offers, &offer{job: "j", targets: 1, retry: i%4 != 0})
	}
	retries := 0
	for i, o := range order(t, offers)[:110] { // 100 others and ten of them
		if o.retry {
			retries++
		}
		if i > 20 && retries > 1+i/10 {
			t.Fatalf("%d of the first %d calls had failed before", retries, i+1)
		}
	}
	if retries == 0 {
		t.Error("none that failed was tried again beside others")
	}
}

func TestNewJobsGoFirst(t *testing.T) {
	l := &lane{}
	old := &share{pass: 1, served: true, queue: []*offer{{job: "old", targets: 1}}}
	fresh := &share{pass: 100, queue: []*offer{{job: "new", targets: 1}}}
	if !l.before(fresh, old) || l.before(old, fresh) {
		t.Error("a job that was served before goes before a new one")
	}
	fresh.served = true
	if l.before(fresh, old) || !l.before(old, fresh) {
		t.Error("of two that were served, the one that has had less for its weight does not go first")
	}
}

// What was granted hangs on nothing, and jobs that come no more are forgotten,
// those of one code sooner than campaigns.
func TestJobsAreForgotten(t *testing.T) {
	for _, tt := range []struct {
		urgent bool
		after  time.Duration
	}{{true, 2 * time.Minute}, {false, 12 * time.Minute}} {
		l := &lane{dispatcher: &dispatcher{urgent: tt.urgent}, jobs: map[string]*share{}, busy: map[string]*share{}}
		now := time.Now()
		for i := range 100 {
			job := strconv.Itoa(i)
			l.enqueue(l.share(job), 0, &offer{job: job, targets: 1})
		}
		for range 100 {
			_, s, _ := l.best(now)
			l.drop(s, now)
			if s.queue != nil {
				t.Fatal("a queue holds on to what was granted")
			}
		}
		if o, _, _ := l.best(now.Add(time.Second)); o != nil || len(l.busy) > 0 || len(l.jobs) != 100 {
			t.Errorf("urgent %v: %d jobs are busy, %d known", tt.urgent, len(l.busy), len(l.jobs))
		}
		if l.best(now.Add(tt.after)); len(l.jobs) != 0 {
			t.Errorf("urgent %v: %d jobs are known after %v", tt.urgent, len(l.jobs), tt.after)
		}
	}
}
