// @MARKER@
// Arduino wants a file of the folder's name. The sketch is in main.cpp.
