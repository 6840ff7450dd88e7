package targets

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// pack makes gzip data, with a member for each part.
func pack(parts ...string) string {
	var b bytes.Buffer
	for i, part := range parts {
		z := gzip.NewWriter(&b)
		if i%2 == 1 { // the parts of a header, too
			z.Name, z.Comment, z.Extra = "list", "of names", []byte("xx")
		}
		_, _ = io.WriteString(z, part)
		_ = z.Close()
	}
	return b.String()
}

func TestGzip(t *testing.T) {
	for name, tt := range map[string]struct {
		format Format
		list   string
		want   []string
	}{
		"text":              {Text, pack("u1\nu2\n"), []string{"1:u1", "2:u2"}},
		"CSV":               {CSV, pack("x,id\r\n\"a\nb\",u1\r\n"), []string{"2:u1"}},
		"NDJSON":            {NDJSON, pack("\"u1\"\n{\"id\":2}"), []string{"1:u1", "2:2"}},
		"members":           {Text, pack("u1\nu", "2\n", "", "u3"), []string{"1:u1", "2:u2", "3:u3"}},
		"BOM":               {Text, pack("\ufeffu1"), []string{"1:u1"}},
		"nothing in it":     {Text, pack(""), nil},
		"nothing, CSV":      {CSV, pack("", ""), nil},
		"invalid lines":     {Text, pack("u1\nu 2\n"), []string{"1:u1", "2!has a space at byte 2"}},
		"more than buffers": {Text, pack(strings.Repeat("u1\n\n", bufferSize)), repeated("u1", bufferSize)},
	} {
		for _, gzip := range []bool{true, false} { // told or found out
			got, err := readString(t, tt.list, tt.format, Options{Kind: Users, Gzip: gzip})
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("%s, %t: %v %s", name, gzip, err, diff)
			}
		}
	}
}

func TestGzipTwice(t *testing.T) {
	got, err := readString(t, pack(pack("u1\n")), Text, Options{Kind: Users})
	if err != nil || len(got) == 0 || !strings.HasPrefix(got[0], `1!has the character "\x1f"`) {
		t.Errorf("%v, %v", got, err)
	}
}

// repeated gives the items of a list with name on every other line.
func repeated(name string, times int) []string {
	items := make([]string, times)
	for i := range items {
		items[i] = fmt.Sprintf("%d:%s", 2*i+1, name)
	}
	return items
}

func TestGzipFaults(t *testing.T) {
	list := pack("u1\n")
	flipped := []byte(list)
	flipped[len(flipped)-8] ^= 1 // of the checksum
	for name, tt := range map[string]struct {
		list string
		want []string
		err  string
	}{
		"empty":              {"", nil, "read: the gzip data are cut off: unexpected EOF"},
		"text":               {"u1\n", nil, "read: the list is not gzip data"},
		"short text":         {"u", nil, "read: the list is not gzip data"},
		"one byte":           {"\x1f", nil, "read: the gzip data are cut off: unexpected EOF"},
		"half":               {list[:len(list)-12], []string{"1:u1"}, "read: the gzip data are cut off: unexpected EOF"},
		"no size":            {list[:len(list)-4], []string{"1:u1"}, "read: the gzip data are cut off: unexpected EOF"},
		"within a header":    {list + pack("", "x")[len(pack("")):][:18], []string{"1:u1"}, "read: the gzip data are cut off: unexpected EOF"},
		"checksum":           {string(flipped), []string{"1:u1"}, "read: the gzip data are damaged: gzip: invalid checksum"},
		"method":             {"\x1f\x8b\x01" + list[3:], nil, "read: the gzip data are damaged: gzip: invalid header"},
		"zeros":              {list + "\x00\x00\x00\x00", []string{"1:u1"}, "read: the gzip data are followed by something else"},
		"a line behind":      {list + "\n", []string{"1:u1"}, "read: the gzip data are followed by something else"},
		"a byte behind":      {list + "\x1f", []string{"1:u1"}, "read: the gzip data are cut off: unexpected EOF"},
		"text behind":        {list + "\x1fx", []string{"1:u1"}, "read: the gzip data are followed by something else"},
		"damaged within":     {list[:10] + "\xff\xff\xff" + list[13:], nil, "read: the gzip data are damaged: flate: corrupt input before offset"},
		"UTF-16":             {pack("\xff\xfeu\x00"), nil, "save it as UTF-8"},
		"longer than buffer": {pack(strings.Repeat("u1\n\n", bufferSize)) + "x", repeated("u1", bufferSize), "followed by something else"},
	} {
		got, err := readString(t, tt.list, Text, Options{Kind: Users, Gzip: true})
		if err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: ended with %v, want %s", name, err, tt.err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// However gzip data are cut, what is left gives no name that was not there, and
// does not pass for a list, unless it was cut between two members.
func TestGzipCutAnywhere(t *testing.T) {
	for format, lines := range map[Format][2]string{
		Text:   {"user-1\nuser-22\nuser-333\n", "user-4444\nuser-55555"},
		CSV:    {"x,id\n\"a\nb\",user-1\nc,user-22\nd,\"user-333\"\n", "e,user-4444\nf,user-55555"},
		NDJSON: {"\"user-1\"\n{\"id\":\"user-22\"}\n{\"user\":\"user-333\",\"id\":1}\n", "\"user-4444\"\n\"user-55555\""},
	} {
		first, whole := pack(lines[0]), pack(lines[0], lines[1])
		all, err := readString(t, whole, format, Options{Kind: Users})
		if err != nil || len(all) != 5 {
			t.Fatal(all, err)
		}
		for cut := range len(whole) {
			got, err := readString(t, whole[:cut], format, Options{Kind: Users, Gzip: true})
			if !slices.Equal(all[:min(len(all), len(got))], got) {
				t.Errorf("%s cut at %d: %v", format, cut, got)
			}
			if cut == len(first) {
				if err != nil || len(got) != 3 {
					t.Errorf("%s cut between members: %v, %v", format, got, err)
				}
			} else if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s cut at %d: ended with %v", format, cut, err)
			}
		}
		// Of what is damaged, nothing passes for a list but the very same one:
		// not all of a header matters.
		for i := range len(whole) {
			damaged := []byte(whole)
			damaged[i] ^= 0x10
			got, err := readString(t, string(damaged), format, Options{Kind: Users, Gzip: true})
			if err == nil && !slices.Equal(all, got) {
				t.Errorf("%s damaged at %d: %v", format, i, got)
			}
		}
	}
}

// A stream that breaks off is no end of the gzip data, wherever it breaks off.
func TestGzipBrokenStream(t *testing.T) {
	broken := errors.New("connection reset")
	whole := pack("u1\nu2\n", "u3\n")
	for cut := range len(whole) + 1 {
		for end, want := range map[error]error{broken: broken, fmt.Errorf("wrapped: %w", io.EOF): io.ErrUnexpectedEOF} {
			stream := io.MultiReader(strings.NewReader(whole[:cut]), iotest.ErrReader(end))
			r, err := NewReader(iotest.OneByteReader(stream), Text, Options{Kind: Users, Gzip: true})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := read(r); !errors.Is(err, want) {
				t.Errorf("cut at %d: ended with %v, want %v", cut, err, want)
			}
		}
	}
}
