package targets

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

const (
	maxLine    = 1 << 20  // bytes; a longer line is no name, whatever is in it
	bufferSize = 64 << 10 // bytes; large reads, yet small beside a CPU cache
)

var (
	errLineTooLong = errors.New("is longer than 1 MiB")
	errUTF16       = errors.New("the list is UTF-16 text, save it as UTF-8")
)

// lines cuts a stream into lines. A line is lent until the next call.
type lines struct {
	r     *bufio.Reader
	long  []byte // a line that does not fit the buffer of r
	count int    // lines so far: the number of the line last given
}

func newLines(r io.Reader) *lines {
	return &lines{r: bufio.NewReaderSize(r, bufferSize)}
}

// next gives the next line with its line end. The error is io.EOF after the
// last line, errLineTooLong for a line that was left out (then with its start),
// or that of the stream: the beginning of a line that was cut off by a read
// error is never given, as half a name can be somebody else's.
func (l *lines) next() ([]byte, error) {
	if l.count == 0 {
		if err := l.skipBOM(); err != nil {
			return nil, err
		}
	}
	text, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		text, err = l.readLong(text)
	}
	if err == io.EOF && len(text) > 0 { //nolint:errorlint // an error that wraps it is no end, but a break
		err = nil // the last line may do without a line end
	}
	if err != nil && !errors.Is(err, errLineTooLong) {
		return nil, err
	}
	l.count++
	return text, err
}

// readLong reads on from the head of a line to its end, and keeps of it no more
// than is needed to know that it is too long.
func (l *lines) readLong(head []byte) ([]byte, error) {
	l.long = append(l.long[:0], head...)
	err := bufio.ErrBufferFull
	for errors.Is(err, bufio.ErrBufferFull) {
		var text []byte
		text, err = l.r.ReadSlice('\n')
		if len(l.long) <= maxLine {
			l.long = append(l.long, text...)
		}
	}
	if len(l.long) > maxLine && (err == nil || err == io.EOF) {
		err = errLineTooLong
	}
	return l.long, err
}

func (l *lines) skipBOM() error {
	// A short list gives fewer bytes and an error, which the first read meets again.
	head, _ := l.r.Peek(3)
	switch {
	case bytes.Equal(head, []byte("\xef\xbb\xbf")):
		_, err := l.r.Discard(len(head))
		return err
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return errUTF16
	}
	return nil
}

// trim cuts off what spreadsheets and editors leave around a name. (bytes.Trim
// takes as long for its cutset as all the rest of a line.)
func trim[T string | []byte](text T) T {
	for len(text) > 0 && blank(text[0]) {
		text = text[1:]
	}
	for len(text) > 0 && blank(text[len(text)-1]) {
		text = text[:len(text)-1]
	}
	return text
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
