package targets

import (
	"runtime"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// A Set answers as a map does, whatever is added in whatever order.
func TestSetIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, model := NewSet(), map[string]bool{}
		// Few long runs rather than many single names: only thousands make a shard grow.
		for range rapid.IntRange(1, 4).Draw(t, "runs") {
			start := rapid.IntRange(0, 30_000).Draw(t, "start")
			step := rapid.IntRange(1, 7).Draw(t, "step")
			for i := range rapid.IntRange(0, 12_000).Draw(t, "names") {
				name := "u" + strconv.Itoa(start+i*step)
				if set.Has([]byte(name)) != model[name] {
					t.Fatalf("Has(%s) = %v", name, !model[name])
				}
				if set.Add([]byte(name)) == model[name] {
					t.Fatalf("Add(%s) = %v", name, model[name])
				}
				model[name] = true
			}
		}
		for _, name := range rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, MaxBytes)).Draw(t, "any names") {
			if set.Add(name) == model[string(name)] {
				t.Fatalf("Add(%q) = %v", name, model[string(name)])
			}
			model[string(name)] = true
		}
		if set.Len() != len(model) {
			t.Fatalf("Len() = %d, want %d", set.Len(), len(model))
		}
		for name := range model {
			if !set.Has([]byte(name)) {
				t.Fatalf("Has(%q) = false after it was added", name)
			}
		}
	})
}

func TestSetMemory(t *testing.T) {
	const names = 300_000
	set := NewSet()
	var name []byte
	for i := range names {
		name = strconv.AppendInt(name[:0], int64(i), 10)
		set.Add(name)
		if i < 100_000 {
			continue // of a few pages, one more is more than an eighth
		}
		if places := set.places(); places*64 > 18*set.Len() {
			t.Fatalf("%d names take %d bytes, over 22 each", set.Len(), places*64)
		}
	}
	if allocs := testing.AllocsPerRun(1000, func() { set.Add(name) }); allocs != 0 {
		t.Errorf("%v allocations for a repeated name, want 0", allocs)
	}
}

func (s *Set) places() int { return s.table.size }

// BenchmarkSetTenMillion reports what ten million names take: MB-live after a
// collection, and MB-peak, the most heap in use on the way.
func BenchmarkSetTenMillion(b *testing.B) {
	const names = 10_000_000
	var before, now runtime.MemStats
	for range b.N {
		runtime.GC()
		runtime.ReadMemStats(&before)
		set, peak := NewSet(), uint64(0)
		var name []byte
		for i := range names {
			name = strconv.AppendInt(append(name[:0], "campaign_user_"...), int64(i), 10)
			if !set.Add(name) {
				b.Fatalf("%s was taken for a repeated name", name)
			}
			if i%100_000 == 0 {
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapInuse-before.HeapInuse)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&now)
		b.ReportMetric(float64(now.HeapAlloc-before.HeapAlloc)/1e6, "MB-live")
		b.ReportMetric(float64(peak)/1e6, "MB-peak")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*names), "ns/name")
		runtime.KeepAlive(set)
	}
}

func BenchmarkSetAdd(b *testing.B) {
	b.ReportAllocs()
	set := NewSet()
	name := []byte("user_00000000")
	for i := range b.N {
		for j, n := len(name)-1, i; n > 0; j, n = j-1, n/10 {
			name[j] = byte('0' + n%10)
		}
		set.Add(name)
	}
}
