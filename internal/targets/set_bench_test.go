package targets

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
)

func cpu() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

var lists = map[int][]byte{}

func shuffled(n int) []byte {
	if l, ok := lists[n]; ok {
		return l
	}
	p := rand.Perm(n)
	l := make([]byte, 0, 22*n)
	for i := range n {
		l = fmt.Appendf(l, "campaign_use_%07d\n", p[i])
	}
	lists[n] = l
	return l
}

func benchSet(b *testing.B, f func(l []byte)) {
	for _, n := range []int{10_000, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := shuffled(n)
			f(l)
			runtime.GC()
			b.ResetTimer()
			best := int64(1 << 60)
			for range b.N {
				start := cpu()
				f(l)
				best = min(best, cpu()-start)
			}
			b.ReportMetric(float64(best)/float64(n), "cpu-ns/name")
		})
	}
}

func BenchmarkSetMeet(b *testing.B) {
	benchSet(b, func(l []byte) {
		set := NewSet()
		for len(l) > 0 {
			i := bytes.IndexByte(l, '\n')
			if set.Meet(l[:i]) != Fresh {
				panic(1)
			}
			l = l[i+1:]
		}
	})
}

func BenchmarkSetSift(b *testing.B) {
	benchSet(b, func(l []byte) {
		set := NewSet()
		for len(l) > 0 {
			i := min(len(l), 21*10000)
			if k, t := set.Sift(l[:i]); len(k) != i || t[Fresh] != i/21 {
				panic(1)
			}
			l = l[i:]
		}
	})
}
