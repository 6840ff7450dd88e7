package tasks

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/zstd"
)

// maxRest bounds the bytes of a document besides its targets, and those of a
// single target: both are held in memory, and the API takes far less.
const maxRest = 1 << 20

// errTooLong says so.
var errTooLong = errors.New("a document takes at most 1 MiB besides its targets")

// source is the text of a document as a stream. It remembers where in the text
// it stands, for those who find a fault in it.
type source struct {
	from   io.Reader
	kept   []byte // what was read since the last mark
	start  int64  // of kept in the text
	line   int    // of the first byte kept, from 1
	column int    // the same, in bytes
	failed error  // what broke the stream, if not its end
}

func newSource(r io.Reader) *source {
	in := bufio.NewReaderSize(r, 16) // for the mark alone: larger reads go past it
	if mark, _ := in.Peek(len(byteOrderMark)); string(mark) == byteOrderMark {
		_, _ = in.Discard(len(mark)) // was just seen
	}
	return &source{from: in, line: 1, column: 1}
}

const byteOrderMark = "\xef\xbb\xbf"

// Read reads on, within maxRest since the last mark.
func (s *source) Read(p []byte) (int, error) {
	if len(s.kept) > maxRest {
		s.failed = errTooLong
		return 0, errTooLong
	}
	n, err := s.from.Read(p)
	s.kept = append(s.kept, p[:n]...)
	if err != nil && err != io.EOF {
		s.failed = err
	}
	return n, err
}

// mark says that no fault will be found before the offset, and that what stands
// there needs no memory.
func (s *source) mark(offset int64) {
	const worthwhile = 1 << 16
	if n := offset - s.start; n >= worthwhile {
		s.line, s.column = s.position(offset)
		s.kept = append(s.kept[:0], s.kept[n:]...)
		s.start = offset
	}
}

// position is the line and the column of an offset.
func (s *source) position(offset int64) (line, column int) {
	before := s.kept[:min(max(offset-s.start, 0), int64(len(s.kept)))]
	if n := bytes.Count(before, newline); n > 0 {
		return s.line + n, len(before) - bytes.LastIndexByte(before, '\n')
	}
	return s.line, s.column + len(before)
}

var newline = []byte{'\n'}

// member is one field of a JSON object.
type member struct {
	name  string
	value jsontext.Value
	list  *TargetArray // in place of value, of the list of targets
}

// readObject reads the one JSON object that a text holds. The array under the
// name of list, "" = none, may be of any length.
func readObject(r io.Reader, list string) ([]member, error) {
	s := newSource(r)
	dec := jsontext.NewDecoder(s)
	if kind := dec.PeekKind(); kind != '{' {
		if _, err := dec.ReadToken(); err != nil {
			return nil, s.explain(err)
		}
		return nil, fault("document", "must be a JSON object")
	}
	_, _ = dec.ReadToken() // the brace just peeked
	var members []member
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, s.explain(err)
		}
		m := member{name: name.String()}
		if m.name == list && dec.PeekKind() == '[' {
			m.list, err = readArray(dec, s, list)
		} else {
			m.value, err = dec.ReadValue()
			m.value = m.value.Clone()
		}
		if err != nil {
			return nil, s.explain(err)
		}
		members = append(members, m)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, s.explain(err)
	}
	if err := s.end(dec); err != nil {
		return nil, s.explain(err)
	}
	return members, nil
}

// end makes sure that nothing follows the document.
func (s *source) end(dec *jsontext.Decoder) error {
	next := dec.PeekKind()
	rest := dec.UnreadBuffer()
	blank := len(rest) - len(bytes.TrimLeft(rest, " \t\r\n"))
	if next == jsontext.KindInvalid && (blank == len(rest) || s.failed != nil) {
		return s.failed
	}
	return &jsontext.SyntacticError{
		ByteOffset: dec.InputOffset() + int64(blank), Err: errors.New("something follows the end of the document"),
	}
}

// explain turns what the JSON reader says into our words: what broke the stream
// is itself, a repeated name is a fault of that field, everything else has a
// place in the text.
func (s *source) explain(err error) error {
	if invalid := (*InvalidError)(nil); errors.As(err, &invalid) {
		return err
	}
	if errors.Is(s.failed, errTooLong) {
		return fault("document", "is too long: %v", s.failed)
	}
	if s.failed != nil {
		return fmt.Errorf("tasks: document: %w", s.failed)
	}
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		syntax = &jsontext.SyntacticError{ByteOffset: s.start + int64(len(s.kept))}
	}
	if errors.Is(err, jsontext.ErrDuplicateName) {
		var path []string
		for token := range syntax.JSONPointer.Tokens() {
			path = append(path, token)
		}
		return fault(strings.Join(path, "."), "is given twice")
	}
	problem := "the text ends before the document does"
	if syntax.Err != nil && !errors.Is(syntax.Err, io.ErrUnexpectedEOF) && !errors.Is(syntax.Err, io.EOF) {
		problem = syntax.Err.Error()
	}
	line, column := s.position(syntax.ByteOffset)
	return &SyntaxError{Line: line, Column: column, Problem: problem}
}

// TargetArray is the JSON array of names that a document holds, of any length:
// a long one is kept packed.
type TargetArray struct {
	field  string // under which it stands in the document
	raw    []byte // the array, if it is short
	packed packed // if it is long
}

const (
	maxRaw     = 1 << 20   // bytes of an array that are kept as they are
	maxElement = 1 << 10   // bytes of one element: a name, with every character escaped, has fewer
	maxPacked  = 256 << 20 // bytes of a packed array: ten million names have a third of that
)

// readArray reads the array that comes next.
func readArray(dec *jsontext.Decoder, s *source, field string) (*TargetArray, error) {
	a := &TargetArray{field: field, raw: []byte("[")}
	_, _ = dec.ReadToken() // the bracket, which was peeked
	var encoder *zstd.Encoder
	for n := 0; dec.PeekKind() != ']'; n++ {
		value, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		if len(value) > maxElement {
			return nil, fault(fmt.Sprintf("%s[%d]", field, n), "is longer than any name")
		}
		if n > 0 {
			a.raw = append(a.raw, ',')
		}
		a.raw = append(a.raw, value...)
		s.mark(dec.InputOffset())
		if len(a.raw) < maxRaw {
			continue
		}
		if encoder == nil {
			if encoder, err = a.packed.encoder(); err != nil {
				return nil, err
			}
		}
		if _, err := encoder.Write(a.raw); err != nil {
			return nil, err
		}
		a.raw = a.raw[:0]
		if len(a.packed.chunks)*packedChunk > maxPacked {
			return nil, fault(field, "is too long for one document: begin the job without it, and add lists to it")
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	a.raw = append(a.raw, ']')
	if encoder == nil {
		return a, nil
	}
	_, err := encoder.Write(a.raw)
	a.raw = nil
	return a, errors.Join(err, encoder.Close())
}

// text is the array as a stream.
func (a *TargetArray) text() (io.Reader, error) {
	if a.raw != nil {
		return bytes.NewReader(a.raw), nil
	}
	return a.packed.decoder()
}

// packed is a long text in memory, in chunks: growing one would hold it twice.
type packed struct{ chunks [][]byte }

const packedChunk = 1 << 18 // bytes

func (p *packed) encoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(p, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
}

func (p *packed) decoder() (io.Reader, error) {
	chunks := make([]io.Reader, len(p.chunks))
	for i, chunk := range p.chunks {
		chunks[i] = bytes.NewReader(chunk)
	}
	return zstd.NewReader(io.MultiReader(chunks...), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
}

// Write appends to the packed text.
func (p *packed) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		last := len(p.chunks) - 1
		if last < 0 || len(p.chunks[last]) == packedChunk {
			p.chunks = append(p.chunks, make([]byte, 0, packedChunk))
			last++
		}
		n := min(len(rest), packedChunk-len(p.chunks[last]))
		p.chunks[last] = append(p.chunks[last], rest[:n]...)
		rest = rest[n:]
	}
	return len(b), nil
}
