//go:build !linux

package vm

import "syscall"

// child is nothing here: the devices of a machine need Linux.
func child() *syscall.SysProcAttr { return nil }
