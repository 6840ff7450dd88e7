package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// peakOf is the most memory in bytes that a process has had resident so far.
func peakOf(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parsePeak(string(status))
}

// parsePeak finds VmHWM in a /proc/PID/status. A process that has ended, and
// is not yet waited for, has none.
func parsePeak(status string) (int64, error) {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM in %d bytes of process status", len(status))
}

// peakOfEnded is the same of a child that has ended, in bytes. The kernel
// counts in what its parent had resident when it made the child.
func peakOfEnded(state *os.ProcessState) int64 {
	if rusage, ok := state.SysUsage().(*syscall.Rusage); ok {
		return rusage.Maxrss << 10
	}
	return 0
}
