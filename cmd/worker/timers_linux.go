package main

import (
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// coarseTimers lets the kernel wake this process up to a millisecond late, and
// so less often. Go's monitor thread otherwise asks to be woken every 20 us
// while calls come and go, which took a tenth of a busy worker's CPU time; where
// timers matter here, they are coarser. A thread has its slack from the one that
// started it, and a program that replaces itself keeps it. As the monitor thread
// is there before main is, the worker does that once.
func coarseTimers() {
	const slack, again = time.Millisecond, "CRIER_STARTED_AGAIN"
	if _, done := os.LookupEnv(again); done {
		_ = os.Unsetenv(again) // a valid name
		return
	}
	runtime.LockOSThread() // whose slack it is, and who becomes the first thread of what follows
	defer runtime.UnlockOSThread()
	self, err := os.Executable()
	if err != nil || unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0) != nil {
		return
	}
	_ = unix.Exec(self, os.Args, append(os.Environ(), again+"=")) // where it fails the worker only costs more
}
