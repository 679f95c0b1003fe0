package nsm

import "unsafe"

// OpenPath opens another file as if it were the device.
func OpenPath(path string) (*File, error) { return open(path) }

// The argument of the ioctl, as the kernel sees it.
const (
	IoctlRaw       = ioctlRaw
	RawSize        = unsafe.Sizeof(raw{})
	ResponseOffset = unsafe.Offsetof(raw{}.response)
	LengthOffset   = unsafe.Offsetof(raw{}.response.Len)
)
