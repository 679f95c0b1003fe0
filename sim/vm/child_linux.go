package vm

import "syscall"

// child makes QEMU end with this process, however that ends. The kernel watches
// the thread that started it, so the thread has to stay.
func child() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
