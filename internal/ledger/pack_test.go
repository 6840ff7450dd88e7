package ledger

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func testPacker(t testing.TB) *packer {
	t.Helper()
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPack(t *testing.T) {
	p := testPacker(t)
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.OneOf(rapid.StringMatching(`[a-z0-9]{0,12}`), rapid.StringMatching(`user-[0-9]{15}`), rapid.StringMatching(`[^\n]{1,40}`))
		var text []byte
		for _, l := range rapid.SliceOfN(line, 1, 300).Draw(t, "lines") {
			text = append(append(text, l...), '\n')
		}
		for _, as := range []layout{packedColumns, packedLines} {
			packed := p.pack(as, text)
			if len(packed) > len(text)+1 {
				t.Errorf("%d bytes became %d", len(text), len(packed))
			}
			if got, err := p.unpack(packed); !bytes.Equal(got, text) || err != nil {
				t.Errorf("%c: %q came back as %q, %v", as, text, got, err)
			}
		}
	})
}

// What is packed is near what is in it: random letters carry 5.2 bits each,
// and what all names share next to nothing.
func TestPackedSize(t *testing.T) {
	p := testPacker(t)
	random := rand.New(rand.NewPCG(1, 2))
	var letters, numbers, mixed []byte
	for i := range 10_000 {
		for range 20 {
			letters = append(letters, "abcdefghijklmnopqrstuvwxyz0123456789"[random.IntN(36)])
		}
		letters = append(letters, '\n')
		numbers = fmt.Appendf(numbers, "user-%015d\n", i*7919)
		if mixed = append(mixed, letters[len(letters)-21:]...); i%2 == 0 {
			mixed = append(mixed, numbers[len(numbers)-21:]...)
		}
	}
	for name, tt := range map[string]struct {
		text []byte
		best layout
		most int
	}{"random letters": {letters, packedColumns, 133_000}, "numbered": {numbers, packedColumns, 5_000}, "mixed": {mixed, packedLines, 170_000}} {
		best := p.best(tt.text)
		if n := len(p.pack(best, tt.text)); best != tt.best || n > tt.most {
			t.Errorf("%s: %d bytes become %d as %c", name, len(tt.text), n, best)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	p := testPacker(f)
	f.Add(p.pack(packedColumns, []byte("a\nbb\n\nccc\n")))
	f.Add(p.pack(packedColumns, bytes.Repeat([]byte("user\nu\n"), 50)))
	f.Add([]byte{packedColumns, 3})
	f.Add([]byte{packedColumns, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, packed []byte) {
		lines, err := p.unpack(packed)
		if err != nil || packed[0] != packedColumns {
			return
		}
		if again, err := p.unpack(p.pack(packedColumns, lines)); !bytes.Equal(again, lines) || err != nil {
			t.Errorf("%q came back as %q, %v", lines, again, err)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	p := testPacker(b)
	text := lines(0, 10_000)
	packed := p.pack(packedColumns, text)
	perName := func(b *testing.B) {
		b.Helper()
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/name")
	}
	b.Run("pack", func(b *testing.B) {
		for b.Loop() {
			p.pack(packedColumns, text)
		}
		perName(b)
	})
	b.Run("unpack", func(b *testing.B) {
		for b.Loop() {
			if _, err := p.unpack(packed); err != nil {
				b.Fatal(err)
			}
		}
		perName(b)
	})
}
