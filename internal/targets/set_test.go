package targets

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A Set answers as a map does, whatever it is told in whatever order.
func TestSetIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, model := NewSet(), map[string]Verdict{} // on a name met again
		meet := func(name string) Verdict {
			verdict, known := model[name]
			if !known {
				model[name] = Repeated
			}
			return verdict
		}
		// Few long runs rather than many single names: only thousands make a set grow.
		for range rapid.IntRange(1, 5).Draw(t, "runs") {
			start := rapid.IntRange(0, 30_000).Draw(t, "start")
			step := rapid.IntRange(1, 7).Draw(t, "step")
			how := rapid.SampledFrom([]string{"Meet", "Add", "Sift", "Exclude"}).Draw(t, "how")
			var lines, want []byte
			var tally Tally
			for i := range rapid.IntRange(0, 12_000).Draw(t, "names") {
				name := "u" + strconv.Itoa(start+i*step)
				known, has := model[name], set.Has([]byte(name))
				if has != (known != Fresh) {
					t.Fatalf("Has(%s) = %v", name, has)
				}
				switch how {
				case "Meet":
					if got, want := set.Meet([]byte(name)), meet(name); got != want {
						t.Fatalf("Meet(%s) = %v, want %v", name, got, want)
					}
				case "Add":
					if got, want := set.Add([]byte(name)), meet(name) == Fresh; got != want {
						t.Fatalf("Add(%s) = %v, want %v", name, got, want)
					}
				case "Sift":
					lines = append(append(lines, name...), '\n')
					verdict := meet(name)
					if tally[verdict]++; verdict == Fresh {
						want = append(append(want, name...), '\n')
					}
				case "Exclude":
					set.Exclude([]byte(name))
					if known == Fresh {
						model[name] = Excluded
					}
				}
			}
			kept, met := set.Sift(lines)
			if !bytes.Equal(kept, want) || met != tally {
				t.Fatalf("Sift kept %d bytes, want %d; met %v, want %v", len(kept), len(want), met, tally)
			}
		}
		for _, name := range rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, MaxBytes)).Draw(t, "any names") {
			if got, want := set.Meet(name), meet(string(name)); got != want {
				t.Fatalf("Meet(%q) = %v, want %v", name, got, want)
			}
		}
		fresh := 0
		for name, verdict := range model {
			if verdict == Repeated {
				fresh++
			}
			if got := set.Meet([]byte(name)); got != verdict {
				t.Fatalf("Meet(%q) = %v at last, want %v", name, got, verdict)
			}
		}
		if set.Len() != fresh {
			t.Fatalf("Len() = %d, want %d", set.Len(), fresh)
		}
	})
}

func TestSift(t *testing.T) {
	many := strings.Repeat("u1\nu2\nu1\n", ahead)
	for name, tt := range map[string]struct {
		lines, kept string
		met         Tally
	}{
		"nothing":          {"", "", Tally{}},
		"fresh":            {"u1\nu2\n", "u1\nu2\n", Tally{Fresh: 2}},
		"repeated":         {"u1\nu2\nu1\nu3\n", "u1\nu2\nu3\n", Tally{Fresh: 3, Repeated: 1}},
		"excluded":         {"no\nu1\nno\nu2\nno\n", "u1\nu2\n", Tally{Fresh: 2, Excluded: 3}},
		"no last line end": {"u1\nu1\nu2", "u1\nu2", Tally{Fresh: 2, Repeated: 1}},
		"over and over":    {many, "u1\nu2\n", Tally{Fresh: 2, Repeated: 3*ahead - 2}},
	} {
		set := NewSet()
		set.Exclude([]byte("no"))
		kept, met := set.Sift([]byte(tt.lines))
		if string(kept) != tt.kept || met != tt.met || set.Len() != tt.met[Fresh] {
			t.Errorf("%s: %q, %v, Len %d; want %q, %v", name, kept, met, set.Len(), tt.kept, tt.met)
		}
	}
}

// In a set that grows fourfold and by quarters every name keeps its verdict.
func TestLargeSet(t *testing.T) {
	const names = 1_300_000
	set, name := NewSet(), []byte(nil)
	for i := range names {
		if name = strconv.AppendInt(name[:0], int64(i), 10); i%100 == 0 {
			set.Exclude(name)
		}
	}
	for _, want := range []Tally{{Fresh: names - names/100, Excluded: names / 100}, {Repeated: names - names/100, Excluded: names / 100}} {
		var lines []byte
		var met Tally
		for i := range names {
			if lines = append(strconv.AppendInt(lines, int64(i), 10), '\n'); i%10_000 == 9_999 {
				_, some := set.Sift(lines)
				for verdict, count := range some {
					met[verdict] += count
				}
				lines = lines[:0]
			}
		}
		if diff := cmp.Diff(want, met); diff != "" {
			t.Error(diff)
		}
	}
	if allocs := testing.AllocsPerRun(1000, func() { set.Meet(name) }); allocs != 0 {
		t.Errorf("%v allocations for a repeated name, want 0", allocs)
	}
}

// shuffled are lines of 20 bytes, all different, in no order.
func shuffled(names int) []byte {
	lines := make([]byte, 0, 21*names)
	for _, i := range rand.Perm(names) {
		lines = fmt.Appendf(lines, "campaign_use_%07d\n", i)
	}
	return lines
}

// BenchmarkSet is what the ways to drop repeated names take, of a name in a list
// of which none is repeated.
func BenchmarkSet(b *testing.B) {
	ways := []struct {
		name string
		sift func(lines []byte) int
	}{
		{"Sift", func(lines []byte) int {
			set := NewSet()
			for part := range slices.Chunk(lines, 21*10_000) {
				set.Sift(part)
			}
			return set.Len()
		}},
		{"Meet", func(lines []byte) int {
			set := NewSet()
			for line := range bytes.Lines(lines) {
				set.Meet(line)
			}
			return set.Len()
		}},
		{"Map", func(lines []byte) int {
			set := map[string]struct{}{}
			for line := range bytes.Lines(lines) {
				set[string(line)] = struct{}{}
			}
			return len(set)
		}},
	}
	for _, names := range []int{10_000, 1_000_000, 10_000_000} {
		lines := shuffled(names)
		for _, way := range ways {
			b.Run(fmt.Sprintf("%s/%d", way.name, names), func(b *testing.B) {
				for b.Loop() {
					if got := way.sift(lines); got != names {
						b.Fatalf("%d of %d names are different", got, names)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*names), "ns/name")
			})
		}
	}
}

// BenchmarkSetMemory reports what ten million names take: MB-live after a
// collection, and MB-peak, the most heap in use on the way.
func BenchmarkSetMemory(b *testing.B) {
	const names = 10_000_000
	lines := shuffled(names)
	var before, now runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		set, peak := NewSet(), uint64(0)
		for part := range slices.Chunk(lines, 21*10_000) {
			set.Sift(part)
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapInuse-before.HeapInuse)
		}
		runtime.GC()
		runtime.ReadMemStats(&now)
		b.ReportMetric(float64(now.HeapAlloc-before.HeapAlloc)/1e6, "MB-live")
		b.ReportMetric(float64(peak)/1e6, "MB-peak")
		runtime.KeepAlive(set)
	}
}
