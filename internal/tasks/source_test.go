package tasks

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"crier/internal/apiclient"
)

// pieces reads a text in pieces of odd sizes.
func pieces(text string) io.Reader { return iotest.HalfReader(strings.NewReader(text)) }

// namesOf reads all targets of a document.
func namesOf(t *testing.T, d Document) (names []string) {
	t.Helper()
	list, err := newArrayNames(string(d.Message.TargetType), d.Targets)
	for err == nil {
		var name []byte
		if name, _, err = list.Next(); err == nil {
			names = append(names, string(name))
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return names
}

// manyNames is a JSON array of n names, and the length of its text is well
// above what is kept unpacked from some 100,000 on.
func manyNames(n int) string {
	var b strings.Builder
	b.WriteString("[\n")
	for i := range n {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, ` "user-%07d"`, i)
	}
	return b.String() + "]"
}

func TestReadDocumentOfAnyLength(t *testing.T) {
	const n = 200_000
	for _, field := range []string{"target", "to"} {
		head := `{"` + field + `":` + manyNames(n)
		var d Document
		var err error
		if field == "to" {
			d, err = ReadSplit(pieces(head+`,"type":"txt","body":{"msg":"hi"}}`), apiclient.Users)
		} else {
			d, err = ReadDocument(pieces(head + `,"target_type":"users","msg":{"type":"txt","msg":"hi"}}`))
		}
		if err != nil {
			t.Fatal(err)
		}
		names := namesOf(t, d)
		if len(names) != n {
			t.Fatalf("%d names, want %d", len(names), n)
		}
		for i, name := range names {
			if want := fmt.Sprintf("user-%07d", i); name != want {
				t.Fatalf("name %d is %q, want %q", i, name, want)
			}
		}
		if size := len(d.Targets.packed.chunks) * packedChunk; d.Targets.raw != nil || size > n*14/2 {
			t.Errorf("%d bytes are kept, %d of them unpacked", size, len(d.Targets.raw))
		}
	}
}

// The place of a fault is right, however far behind the beginning it is.
func TestFaultFarBehind(t *testing.T) {
	const n = 150_000
	text := `{"target":` + manyNames(n)
	for name, tt := range map[string]struct{ text, want string }{
		"in the list":  {text[:len(text)-1] + `,` + "\n" + ` oops]}`, fmt.Sprintf("line %d, column 2:", n+2)},
		"behind it":    {text + `, "msg": }`, fmt.Sprintf("line %d, column 26:", n+1)},
		"cut off":      {text, fmt.Sprintf("line %d, column 17: the text ends", n+1)},
		"cut off list": {text[:len(text)-1], fmt.Sprintf("line %d, column 16: the text ends", n+1)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadDocument(pieces(tt.text))
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

// What breaks the stream is no fault of the document, even if all of it has come.
func TestReadDocumentBroken(t *testing.T) {
	const whole = `{"target_type":"users","target":["u1"],"msg":{"type":"txt","msg":"x"}}`
	broken := errors.New("broken")
	for _, n := range []int{0, 1, 20, 35, len(whole)} {
		_, err := ReadDocument(io.MultiReader(strings.NewReader(whole[:n]), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func TestReadDocumentTooLong(t *testing.T) {
	long := strings.Repeat("x", maxRest)
	for _, text := range []string{
		`{"msg":{"type":"txt","msg":"` + long + `"}}`,
		`{"target":` + manyNames(100_000) + `,"ext":"` + long + `"}`,
	} {
		_, err := ReadDocument(strings.NewReader(text))
		if got := fieldsOf(err); len(got) != 1 || got[0] != "document" {
			t.Errorf("%.20s...: %.200v", text, err)
		}
	}
}

func TestReadDocumentLongElement(t *testing.T) {
	text := `{"target_type":"users","target":["u1",%q],"msg":{"type":"txt","msg":"x"}}`
	if _, err := ReadDocument(strings.NewReader(fmt.Sprintf(text, strings.Repeat("x", maxElement-2)))); err != nil {
		t.Error(err) // it is for who reads the names to refuse it
	}
	_, err := ReadDocument(strings.NewReader(fmt.Sprintf(text, strings.Repeat("x", maxElement))))
	if got := fieldsOf(err); len(got) != 1 || got[0] != "target[1]" {
		t.Errorf("%.200v", err)
	}
}

func TestReadSplit(t *testing.T) {
	d, err := ReadSplit(pieces(`{"from":"admin","to":["G1","g2"],"type":"cmd","body":{"action":"sync"},"ext":{"k":1},"sync_device":true}`), apiclient.ChatGroups)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(d.Message.Msg); got != `{"type":"cmd","action":"sync"}` {
		t.Errorf("msg is %s", got)
	}
	if got := d.Message.TargetType; got != apiclient.ChatGroups {
		t.Errorf("target type is %s", got)
	}
	unified, err := ReadUnified(pieces(`{"target_type":"chatgroups","target":[],"from":"admin","msg":{"type":"cmd","action":"sync"},"ext":{"k":1},"sync_device":true}`))
	if err != nil {
		t.Fatal(err)
	}
	one, err1 := d.Canonical()
	other, err2 := unified.Canonical()
	if string(one) != string(other) || err1 != nil || err2 != nil {
		t.Errorf("the same message is\n%s (%v)\nand\n%s (%v)", one, err1, other, err2)
	}
	list, err := newArrayNames("chatgroups", d.Targets)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = list.Next()
	if fault := (apiclient.FieldError{}); !errors.As(err, &fault) || fault.Field != "to[0]" {
		t.Errorf("an upper-case group is %v", err)
	}
}

func TestReadSplitFaults(t *testing.T) {
	for text, want := range map[string][]string{
		`{}`: {"to", "type"},
		`{"to":"u1","type":"txt","body":{"msg":"x"}}`:                       {"to"},
		`{"to":["u1"],"type":"txt","body":"x"}`:                             {"body", "body.msg"},
		`{"to":["u1"],"type":"txt","body":{}}`:                              {"body.msg"},
		`{"to":["u1"],"type":"txt","body":{"type":"txt","msg":"x"}}`:        {"body.type", "type"},
		`{"to":["u1"],"type":"nope","body":{"msg":"x"}}`:                    {"type"},
		`{"to":["u1"],"type":"img","body":{},"target_type":"users","id":1}`: {"target_type", "id", "body.url"},
		`{"to":["u1"],"type":"txt","body":{"msg":"x"},"options":{}}`:        {"options"},
	} {
		_, err := ReadSplit(strings.NewReader(text), apiclient.Users)
		if got := fieldsOf(err); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: faults of %q, want %q\n%v", text, got, want, err)
		}
	}
}

// A document is the same, and so is what is wrong with it, in whatever pieces it comes.
func FuzzReadDocument(f *testing.F) {
	for _, text := range []string{
		`{"id":"a","target_type":"users","target":["u1","U2"],"msg":{"type":"txt","msg":"h\u00e9"},"options":{"weight":3}}`,
		"\ufeff{\n \"target\" : [ \"u1\" , 7 ] , \"msg\" : { } }",
		`{"to":["u1"],"type":"txt","body":{"msg":"x"},"to":1}`,
		`{"target":["u1",`, `[]`, `{} {}`, ``,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		read := map[string]func(io.Reader) (Document, error){
			"job": ReadDocument, "unified": ReadUnified,
			"split": func(r io.Reader) (Document, error) { return ReadSplit(r, apiclient.Users) },
		}
		for name, read := range read {
			whole, err := read(strings.NewReader(text))
			again, errAgain := read(iotest.OneByteReader(strings.NewReader(text)))
			if said, again := places(err), places(errAgain); said != again {
				t.Fatalf("%s: %v, byte by byte %v", name, err, errAgain)
			}
			if err != nil {
				continue
			}
			if diff := cmp.Diff(whole, again, cmp.AllowUnexported(Document{}, TargetArray{}, packed{})); diff != "" {
				t.Fatalf("%s: %s", name, diff)
			}
			if _, err := whole.Canonical(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}

// places is where an error sees faults: how the JSON library words them depends on
// how much it has read.
func places(err error) string {
	if syntax := (*SyntaxError)(nil); errors.As(err, &syntax) {
		return fmt.Sprintf("line %d, column %d", syntax.Line, syntax.Column)
	}
	return strings.Join(fieldsOf(err), " ")
}
