package main

import (
	"os"
	"runtime/pprof"
)

func init() {
	if a := os.Getenv("CPUPROF"); a != "" {
		f, _ := os.Create(a)
		pprof.StartCPUProfile(f)
		profStop = pprof.StopCPUProfile
	}
}

var profStop = func() {}
