package test

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel end a program also when the test binary dies
// without its cleanups, as on a timeout.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
