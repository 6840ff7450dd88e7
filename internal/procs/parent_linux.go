package procs

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel end a child also when this process is killed.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
