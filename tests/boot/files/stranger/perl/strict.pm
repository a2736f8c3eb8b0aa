package strict;
print "evil code in perl\n";
1;
