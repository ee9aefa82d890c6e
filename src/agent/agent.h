/* The commands of this folder. Each takes its arguments and returns the exit code. */
#pragma once

int sp_agent_main(int argc, char **argv); /* the role: runs the pods of one node */
int sp_shim_main(int argc, char **argv);  /* holds one container's output and exit status */
int sp_image_main(int argc, char **argv); /* the image store by hand */
