package chatsim

import (
	"encoding/binary"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"

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
