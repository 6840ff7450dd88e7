package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"crier/internal/redistest"
)

// The census adds up to the records, whoever takes it, and serves everybody.
func TestCensus(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l, other := newLedger(t, client), newLedger(t, client)
		sealed(t, l, Spec{ID: "runs", TargetType: "users"}, 2, 2)
		sealed(t, l, Spec{ID: "too", TargetType: "users"}, 3)
		sealed(t, l, Spec{ID: "code", TargetType: "chatrooms", Urgent: true}, 1)
		sealed(t, l, Spec{ID: "stands", TargetType: "users"}, 1)
		must[Change](t)(l.Pause(t.Context(), "stands"))
		sealed(t, l, Spec{ID: "over", TargetType: "users"}, 1)
		must[Change](t)(l.Cancel(t.Context(), "over"))
		must[Settled](t)(l.Settle(t.Context(), "over"))
		ended := sealed(t, l, Spec{ID: "done", TargetType: "users"}, 1)
		commit(t, claimed(t, l, ended), to(Sent, 0))

		got := must[Census](t)(l.Census(t.Context()))
		slices.SortFunc(got.Open, func(a, b Group) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		want := Census{
			At: got.At, Past: map[State]int{StateFinished: 1, StateCancelled: 1}, Walk: got.Walk,
			Open: []Group{
				{State: StatePaused, TargetType: "users", Priority: "bulk", Jobs: 1, Pending: 1},
				{State: StateRunning, TargetType: "chatrooms", Priority: "urgent", Jobs: 1, Pending: 1},
				{State: StateRunning, TargetType: "users", Priority: "bulk", Jobs: 2, Pending: 7},
			},
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		sealed(t, l, Spec{ID: "new", TargetType: "users"}, 1)
		again := must[Census](t)(other.Census(t.Context()))
		if !again.At.Equal(got.At) {
			t.Error("a census was taken twice within its time")
		}
	})
}

// However many records there are, each census looks at a bounded part of them, and
// some of them together at all.
func TestCensusWalks(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		const jobs = walkStep*walkSteps + 500
		_, err := client.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for i := range jobs {
				id := fmt.Sprintf("j%d", i)
				p.HSet(t.Context(), l.keys(id).job, "state", string(StateFinished))
				p.ZAdd(t.Context(), l.indexKey(), redis.Z{Member: id, Score: float64(i)})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var c Census
		for takes := 1; c.Past == nil; takes++ {
			if c, err = l.takeCensus(t.Context(), time.Now(), c); err != nil || takes > 3 {
				t.Fatalf("take %d: %+v, %v", takes, c, err)
			}
		}
		if got := c.Past[StateFinished]; got != jobs {
			t.Errorf("%d finished jobs, want %d", got, jobs)
		}
	})
}

// A full Redis is when everybody looks at the metrics.
func TestCensusOfAFullRedis(t *testing.T) {
	client := redistest.StartReal(t).Client()
	l := newLedger(t, client)
	sealed(t, l, Spec{}, 2)
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	c := must[Census](t)(l.Census(t.Context()))
	if len(c.Open) != 1 || c.Open[0].Pending != 2 {
		t.Errorf("%+v", c)
	}
}

// Whether a job will be done in time, by its pace so far.
func TestJobWillBeLate(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	for name, tt := range map[string]struct {
		job  Job
		want bool
	}{
		"half done in half the time": {Job{State: StateRunning, Total: 100, Pending: 50, Spec: Spec{ExpiresAt: now.Add(61 * time.Minute)}}, false},
		"a third done in half":       {Job{State: StateRunning, Total: 100, Pending: 67, Spec: Spec{ExpiresAt: now.Add(59 * time.Minute)}}, true},
		"nothing done at all":        {Job{State: StateRunning, Total: 100, Pending: 100, Spec: Spec{ExpiresAt: now.Add(59 * time.Minute)}}, false},
		"no end":                     {Job{State: StateRunning, Total: 100, Pending: 100}, false},
		"paused":                     {Job{State: StatePaused, Total: 100, Pending: 100, Spec: Spec{ExpiresAt: now.Add(time.Minute)}}, false},
		"just begun":                 {Job{State: StateRunning, Total: 100, Pending: 99, Created: now.Add(-time.Second), Spec: Spec{ExpiresAt: now.Add(time.Minute)}}, false},
		"just launched": {Job{
			State: StateRunning, Total: 100, Pending: 99, Launched: now.Add(-time.Second), Created: now.Add(-time.Hour),
			Spec: Spec{ExpiresAt: now.Add(time.Minute)},
		}, false},
	} {
		if tt.job.Created.IsZero() {
			tt.job.Created = now.Add(-time.Hour)
		}
		tt.job.Started = tt.job.Accepted()
		if got := tt.job.Late(now); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
