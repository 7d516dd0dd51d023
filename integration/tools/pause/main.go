// What runs in a container that only has to be there: waits until it is told to end, and reaps the processes that others leave to it.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGINT, syscall.SIGTERM)
	for it := range signals {
		if it != syscall.SIGCHLD {
			return
		}
		for {
			child, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if err == nil && child <= 0 || err == syscall.ECHILD {
				break
			}
		}
	}
}
