//go:build unix

package apiclient

import (
	"errors"
	"syscall"
)

// nothingToRead reports whether a read of the socket would wait: there is
// neither a byte nor an end to read.
func nothingToRead(fd uintptr) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
	return errors.Is(err, syscall.EAGAIN)
}
