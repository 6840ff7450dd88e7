package chatsim

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"
)

func TestJournalCounts(t *testing.T) {
	var j journal
	want := map[string]int{}
	for i := range 20_000 {
		name := fmt.Sprintf("user-%d", i%7_000)
		j.add(name)
		want[name]++
	}
	long := strings.Repeat("n", 5_000)
	j.add(long)
	want[long]++
	if diff := cmp.Diff(want, maps.Collect(j.all())); diff != "" {
		t.Error(diff)
	}
	if j.count("user-0") != 3 || j.count("user-6999") != 2 || j.count(long) != 1 || j.count("user-") != 0 {
		t.Errorf("counts %d %d %d %d", j.count("user-0"), j.count("user-6999"), j.count(long), j.count("user-"))
	}
}

func TestJournalKeepsCollidingNamesApart(t *testing.T) {
	var j journal
	// As if "first" had the hash of "second".
	hash := xxhash.Sum64String("second")
	s := &j.shards[hash%shardCount]
	s.index = map[uint64]uint32{hash: 0}
	s.arena = append(binary.LittleEndian.AppendUint32([]byte{5}, 7), "first"...)
	j.add("second")
	j.add("second")
	if n := j.count("second"); n != 2 {
		t.Errorf("second counts %d, want 2", n)
	}
	if diff := cmp.Diff(map[string]int{"first": 7, "second": 2}, maps.Collect(j.all())); diff != "" {
		t.Error(diff)
	}
}

func TestJournalIsSafeForConcurrentUse(t *testing.T) {
	var j journal
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 2_000 {
				j.add(strconv.Itoa(i % 100))
				if i%500 == 0 {
					for range j.all() {
						break
					}
				}
			}
		})
	}
	group.Wait()
	for name, n := range j.all() {
		if n != 80 {
			t.Errorf("%s counts %d, want 80", name, n)
		}
	}
}

func TestNoJournal(t *testing.T) {
	s := newSim(t, func(c *Config) { c.NoJournal = true })
	s.call(t, unifiedPath, hello)
	if n := len(maps.Collect(s.Journal())); n != 0 || s.Delivered(Users, "u1") != 0 || s.Stats().AcceptedTargets != 2 {
		t.Errorf("%d in the journal, stats %+v", n, s.Stats())
	}
}

// BenchmarkJournal says what a target costs in time and, as B/target, in
// memory of its own.
func BenchmarkJournal(b *testing.B) {
	var j journal
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		j.add(fmt.Sprintf("user-%011d", i))
		i++
	}
	arena := 0
	for n := range j.shards {
		arena += cap(j.shards[n].arena)
	}
	b.ReportMetric(float64(arena)/float64(i), "arena-B/target")
}

// Which answers were lost is told by call and by target, whatever lost them.
func TestLost(t *testing.T) {
	for name, tt := range map[string]struct {
		fault FaultKind // "" = none
		leave bool      // the client leaves after the call was accepted
		want  int64     // calls
	}{
		"answered":      {},
		"slow":          {fault: FaultSlow},
		"not accepted":  {fault: FaultReset},
		"reset after":   {fault: FaultResetAfter, want: 1},
		"500 after":     {fault: FaultErrorAfter, want: 1},
		"half a body":   {fault: FaultTruncated, want: 1},
		"no body":       {fault: FaultEmpty, want: 1},
		"client leaves": {leave: true, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, func(c *Config) {
					c.Refused, c.Latency = []string{"bad"}, 2*time.Second
					if tt.fault != "" {
						c.Faults = []Fault{{Kind: tt.fault, Percent: 100}}
					}
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.leave {
					time.AfterFunc(1500*time.Millisecond, cancel) // a second there, a second back
				}
				func() {
					defer func() { _ = recover() }() // how net/http is told to end a connection
					r := httptest.NewRequestWithContext(ctx, http.MethodPost, unifiedPath, strings.NewReader(message(Users, "u1", "u2", "bad")))
					r.Header.Set("Content-Type", "application/json")
					r.Header.Set("Authorization", "Bearer demo-token")
					s.ServeHTTP(httptest.NewRecorder(), r)
				}()
				stats := s.Stats()
				if stats.LostCalls != tt.want || stats.LostTargets != 2*tt.want {
					t.Errorf("%d calls and %d targets were lost, want %d and %d", stats.LostCalls, stats.LostTargets, tt.want, 2*tt.want)
				}
				if u1, bad := s.Lost(Users, "u1"), s.Lost(Users, "bad"); int64(u1) != tt.want || bad != 0 {
					t.Errorf("u1 was lost %d times, and who was not delivered to %d times", u1, bad)
				}
				if s.Reset(); s.Lost(Users, "u1") != 0 {
					t.Error("a reset does not forget")
				}
			})
		})
	}
}
