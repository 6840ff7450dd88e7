package targets

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
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
	gzip  bool   // r is still to be unpacked
	begun bool   // r is at the first line, or further
	ready []byte // what the buffer of r holds behind the line last given
	long  []byte // a line that does not fit that buffer
	count int    // lines so far: the number of the line last given
}

func newLines(r io.Reader, gzip bool) *lines {
	return &lines{r: bufio.NewReaderSize(r, bufferSize), gzip: gzip}
}

// nextFilled gives the next line that is not blank, without the blanks around
// it. Errors are those of Reader.Next.
func (l *lines) nextFilled() ([]byte, error) {
	for {
		text, err := l.next()
		text = trim(text)
		switch {
		case err == nil && len(text) > 0:
			return text, nil
		case errors.Is(err, errLineTooLong):
			return nil, invalid(l.count, text, err)
		case err != nil:
			return nil, readError(err)
		}
	}
}

// readError says who met the error of a stream. io.EOF stays as it is; an error
// that only wraps it is a stream that broke off, and must not pass for the end.
func readError(err error) error {
	switch {
	case err == io.EOF: //nolint:errorlint // exactly so, see above
		return err
	case errors.Is(err, io.EOF):
		return fmt.Errorf("targets: read: %w: %s", io.ErrUnexpectedEOF, err.Error())
	default:
		return fmt.Errorf("targets: read: %w", err)
	}
}

// next gives the next line with its line end. The error is io.EOF after the
// last line, errLineTooLong for a line that was left out (then with its start),
// or that of the stream: the beginning of a line that was cut off by a read
// error is never given, as half a name can be somebody else's.
func (l *lines) next() ([]byte, error) {
	end := bytes.IndexByte(l.ready, '\n') + 1
	if end == 0 {
		return l.read()
	}
	text := l.ready[:end]
	l.ready = l.ready[end:]
	l.count++
	return text, nil
}

// read is next for a line whose end must still be read.
func (l *lines) read() ([]byte, error) {
	_, _ = l.r.Discard(l.r.Buffered() - len(l.ready)) // which Peek has left there
	l.ready = nil
	if !l.begun {
		if err := l.begin(); err != nil {
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
	l.ready, _ = l.r.Peek(l.r.Buffered())
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

// begin finds out by the first bytes what is before the first line.
func (l *lines) begin() error {
	l.begun = true
	// A short list gives fewer bytes and an error, which the first read meets again.
	if head, _ := l.r.Peek(len(gzipMagic)); l.gzip || bytes.Equal(head, gzipMagic) {
		l.r = bufio.NewReaderSize(&gunzip{packed: l.r}, bufferSize)
	}
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
