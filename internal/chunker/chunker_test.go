package chunker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The two forms of a body around the list, as the API has them.
var envelopes = map[string][2]string{
	"unified": {`{"target_type":"users","target":[`, `],"msg":{"type":"txt","msg":"hello"},"from":"admin"}`},
	"split":   {`{"from":"admin","to":[`, `],"type":"txt","body":{"msg":"hello"}}`},
}

func join(targets []string) []byte {
	var b []byte
	for _, t := range targets {
		b = append(append(b, t...), '\n')
	}
	return b
}

func split(lines []byte) []string {
	if len(lines) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(lines), "\n"), "\n")
}

// cutAll cuts everything and checks what holds of every batch.
func cutAll(t interface {
	Fatalf(string, ...any)
}, l Limits, head, tail string, lines []byte,
) ([][]string, error) {
	var batches [][]string
	for len(lines) > 0 {
		b, rest, err := l.Next(lines)
		if err != nil {
			return batches, err
		}
		if b.Count < 1 || b.Count > l.MaxTargets {
			t.Fatalf("batch of %d targets, limit %d", b.Count, l.MaxTargets)
		}
		list := b.AppendList(nil)
		if len(list) != b.Bytes {
			t.Fatalf("Bytes says %d, the list has %d: %s", b.Bytes, len(list), list)
		}
		body := head + string(list) + tail
		if len(body) > l.MaxBytes {
			t.Fatalf("body of %d bytes, limit %d", len(body), l.MaxBytes)
		}
		var doc struct{ Target, To []string }
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Fatalf("body does not decode: %v: %s", err, body)
		}
		got, want := append(doc.Target, doc.To...), split(b.Lines)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("body decodes to other targets (-want +got):\n%s", diff)
		}
		if b.Count != len(got) {
			t.Fatalf("Count says %d, body has %d", b.Count, len(got))
		}
		batches = append(batches, got)
		lines = rest
	}
	return batches, nil
}

func TestNext(t *testing.T) {
	name := func(n int) string { return strings.Repeat("u", n) }
	tests := []struct {
		name    string
		limits  Limits // with an envelope of Overhead bytes
		targets []string
		want    []int
		wantErr string
	}{
		{"one", Limits{600, 100, 10}, []string{"u1"}, []int{1}, ""},
		{"empty name", Limits{600, 100, 10}, []string{"", "a", ""}, []int{3}, ""},
		{"by count", Limits{2, 100, 10}, []string{"a", "b", "c", "d", "e"}, []int{2, 2, 1}, ""},
		{"exactly full", Limits{600, 10 + 11, 10}, []string{"aaa", "bbb"}, []int{2}, ""},
		{"one byte short", Limits{600, 10 + 10, 10}, []string{"aaa", "bbb"}, []int{1, 1}, ""},
		{"an escape costs its bytes", Limits{600, 10 + 11, 10}, []string{"a\"a", "bbb"}, []int{1, 1}, ""},
		{"html is not escaped", Limits{600, 10 + 11, 10}, []string{"<&>", "bbb"}, []int{2}, ""},
		{"utf-8 as it is", Limits{600, 10 + 11, 10}, []string{"中", "bbb"}, []int{2}, ""},
		{"control characters", Limits{600, 10 + 8, 10}, []string{"\x01", "a"}, []int{1, 1}, ""},
		{"fits exactly alone", Limits{600, 10 + 66, 10}, []string{name(64)}, []int{1}, ""},
		{"fits no body alone", Limits{600, 10 + 65, 10}, []string{name(64)}, nil, "does not fit a body of 75 bytes"},
		{"later one fits no body", Limits{600, 10 + 20, 10}, []string{"a", name(64)}, []int{1}, `"` + name(64) + `"`},
		{"not utf-8", Limits{600, 100, 10}, []string{"a", "b\xff"}, []int{1}, `target "b\xff" is not valid UTF-8`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.limits.Validate(); err != nil {
				t.Fatal(err)
			}
			head := `{"target":[`
			tail := `]` + strings.Repeat(" ", max(0, tt.limits.Overhead-len(head)-2)) + `}`
			l := tt.limits
			l.MaxBytes += len(head) + len(tail) - l.Overhead
			l.Overhead = len(head) + len(tail)
			batches, err := cutAll(t, l, head, tail, join(tt.targets))
			var counts []int
			for _, b := range batches {
				counts = append(counts, len(b))
			}
			if diff := cmp.Diff(tt.want, counts); diff != "" {
				t.Errorf("batches (-want +got):\n%s", diff)
			}
			var te *TargetError
			if tt.wantErr == "" && err != nil || tt.wantErr != "" && !errors.As(err, &te) {
				t.Fatalf("error %v, want %q", err, tt.wantErr)
			}
		})
	}
}

func TestTargetErrorNamesTheTarget(t *testing.T) {
	l := Limits{MaxTargets: 10, MaxBytes: 30, Overhead: 20}
	long := strings.Repeat("x", 9)
	_, rest, err := l.Next(join([]string{long, "b"}))
	var te *TargetError
	if !errors.As(err, &te) || te.Target != long {
		t.Fatalf("error %v does not carry the target %q", err, long)
	}
	if !strings.Contains(err.Error(), `"xxxxxxxxx" does not fit a body of 30 bytes of which 20 are taken`) {
		t.Errorf("error text: %v", err)
	}
	if string(rest) != long+"\nb\n" {
		t.Errorf("rest is %q: nothing may be consumed by an error", rest)
	}
}

func TestValidate(t *testing.T) {
	if err := (Limits{MaxTargets: 600, MaxBytes: 5120, Overhead: 5118}).Validate(); err != nil {
		t.Errorf("two bytes are room for an empty name: %v", err)
	}
	err := Limits{MaxTargets: 0, MaxBytes: 100, Overhead: 99}.Validate()
	for _, want := range []string{"at most 0 targets", "99 of 100 bytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// greedy is the bound: the number of batches that putting each target into the
// current batch while it fits gives, which no order-keeping cut can beat.
func greedy(l Limits, targets []string) int {
	calls, count, size := 0, 0, 0
	for _, t := range targets {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(t)
		n := buf.Len() - 1
		// encoding/json escapes U+2028 and U+2029, which JSON does not ask for.
		n -= 3 * (strings.Count(t, "\u2028") + strings.Count(t, "\u2029"))
		if calls == 0 || count == l.MaxTargets || size+1+n > l.room() {
			calls, count, size = calls+1, 0, -1
		}
		count, size = count+1, size+1+n
	}
	return calls
}

func TestPropertyCuts(t *testing.T) {
	names := map[string]*rapid.Generator[string]{
		"plain": rapid.StringMatching(`[a-z0-9_.-]{0,40}`),
		"any":   rapid.StringMatching(`[^\n]{0,20}`),
		"mixed": rapid.OneOf(rapid.StringMatching(`[a-z0-9]{1,30}`), rapid.StringMatching("[\"\\\\\t\x01<é中\u2028😀]{1,6}")),
	}
	for form, env := range envelopes {
		for kind, gen := range names {
			t.Run(form+"/"+kind, func(t *testing.T) {
				rapid.Check(t, func(rt *rapid.T) {
					targets := rapid.SliceOfN(gen, 0, 300).Draw(rt, "targets")
					l := Limits{
						MaxTargets: rapid.IntRange(1, 60).Draw(rt, "max"),
						Overhead:   len(env[0]) + len(env[1]),
					}
					l.MaxBytes = l.Overhead + rapid.IntRange(260, 900).Draw(rt, "room")
					batches, err := cutAll(rt, l, env[0], env[1], join(targets))
					if err != nil {
						rt.Fatalf("%v", err)
					}
					var joined []string
					for _, b := range batches {
						joined = append(joined, b...)
					}
					if !equal(joined, targets) {
						rt.Fatalf("joined %q, input %q", joined, targets)
					}
					if want := greedy(l, targets); len(batches) != want {
						rt.Fatalf("%d batches, greedy needs %d", len(batches), want)
					}
				})
			})
		}
	}
}

func equal(a, b []string) bool {
	return len(a) == len(b) && (len(a) == 0 || cmp.Equal(a, b))
}

func TestPlainAgreesWithJSON(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			p := bytes.Repeat([]byte{'a'}, 20)
			p[at] = byte(c)
			want := c == '\n' || c >= ' ' && c < 0x80 && c != '"' && c != '\\'
			if got := plain(p); got != want {
				t.Fatalf("plain with byte %#x at %d: %v, want %v", c, at, got, want)
			}
		}
	}
}

func FuzzNext(f *testing.F) {
	f.Add([]byte("u1\nu2\n"), 2, 40)
	f.Add([]byte("a\"b\n\\\n中文\n\x00\n"), 600, 64)
	f.Add([]byte("\xff\n\n\n"), 1, 3)
	env := envelopes["unified"]
	f.Fuzz(func(t *testing.T, lines []byte, maxTargets, room int) {
		l := Limits{MaxTargets: maxTargets%1000 + 1, Overhead: len(env[0]) + len(env[1])}
		l.MaxBytes = l.Overhead + room%6000
		if l.Validate() != nil {
			return
		}
		if len(lines) > 0 && lines[len(lines)-1] != '\n' {
			lines = append(lines, '\n')
		}
		batches, err := cutAll(t, l, env[0], env[1], lines)
		done := 0
		for _, b := range batches {
			done += len(join(b))
		}
		if err == nil && done != len(lines) || !bytes.HasPrefix(lines, flatten(batches)) {
			t.Fatalf("%d of %d bytes cut, error %v", done, len(lines), err)
		}
		if err == nil && len(lines) > 0 && len(batches) != greedy(l, split(lines)) {
			t.Fatalf("%d batches, greedy needs %d", len(batches), greedy(l, split(lines)))
		}
	})
}

func flatten(batches [][]string) []byte {
	var all []byte
	for _, b := range batches {
		all = append(all, join(b)...)
	}
	return all
}

func TestNoAllocations(t *testing.T) {
	lines, l := benchInput(2000)
	body := make([]byte, 0, l.MaxBytes)
	allocs := testing.AllocsPerRun(20, func() { cutInto(t, l, lines, body) })
	if allocs > 0 {
		t.Errorf("%v allocations for 2,000 targets", allocs)
	}
}

func benchInput(n int) ([]byte, Limits) {
	var lines []byte
	for i := range n {
		lines = fmt.Appendf(lines, "customer-%011d\n", i) // 20 bytes
	}
	env := envelopes["unified"]
	return lines, Limits{MaxTargets: 600, MaxBytes: 5120, Overhead: len(env[0]) + len(env[1])}
}

func cutInto(tb testing.TB, l Limits, lines, body []byte) (batches int) {
	env := envelopes["unified"]
	for len(lines) > 0 {
		b, rest, err := l.Next(lines)
		if err != nil {
			tb.Fatal(err)
		}
		body = append(body[:0], env[0]...)
		body = b.AppendList(body)
		body = append(body, env[1]...)
		lines = rest
		batches++
	}
	return batches
}

// BenchmarkCut reports the time to cut and encode one target beside a loop
// that only finds the lines and copies their bytes; "x" is the ratio.
func BenchmarkCut(b *testing.B) {
	const n = 100_000
	lines, l := benchInput(n)
	body := make([]byte, 0, l.MaxBytes)
	var copying, cutting float64
	b.Run("scan-and-copy", func(b *testing.B) {
		for b.Loop() {
			for rest := lines; len(rest) > 0; {
				body = body[:0]
				for count := 0; count < 218 && len(rest) > 0; count++ {
					i := bytes.IndexByte(rest, '\n')
					body = append(body, rest[:i]...)
					rest = rest[i+1:]
				}
			}
		}
		copying = float64(b.Elapsed().Nanoseconds()) / float64(b.N) / n
		b.ReportMetric(copying, "ns/target")
	})
	b.Run("cut-and-encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			cutInto(b, l, lines, body)
		}
		cutting = float64(b.Elapsed().Nanoseconds()) / float64(b.N) / n
		b.ReportMetric(cutting, "ns/target")
		b.ReportMetric(cutting/copying, "x")
	})
}
